# Completion of btcnode-cli for bash: made by scripts/docs; do not edit. Source it, or install it as
# /usr/share/bash-completion/completions/btcnode-cli

_btcnode_cli() {
    local cur=${COMP_WORDS[COMP_CWORD]} name="" word command="" n
    local methods="
    abortprivatebroadcast addnode analyzepsbt clearbanned combinepsbt combinerawtransaction converttopsbt
    createmultisig createpsbt createrawtransaction decodepsbt decoderawtransaction decodescript deriveaddresses
    descriptorprocesspsbt disconnectnode dumphints dumptxoutset enumeratesigners estimatesmartfee exportasmap
    finalizepsbt getaddednodeinfo getaddrmaninfo getbestblockhash getblock getblockchaininfo getblockcount
    getblockfilter getblockfrompeer getblockhash getblockheader getblockstats getblocktemplate getchainstates
    getchaintips getchaintxstats getconnectioncount getdeploymentinfo getdescriptoractivity getdescriptorinfo
    getdifficulty getindexinfo getmemoryinfo getmempoolancestors getmempoolcluster getmempooldescendants
    getmempoolentry getmempoolinfo getmininginfo getnettotals getnetworkhashps getnetworkinfo getnodeaddresses
    getpeerinfo getpeerscores getprioritisedtransactions getprivatebroadcastinfo getrawmempool getrawtransaction
    getrpcinfo getswiftsyncinfo getsyncprofile getsyncstate gettxout gettxoutproof gettxoutsetinfo
    gettxspendingprevout getutreexoproof getutreexoroots getzmqnotifications help importmempool joinpsbts
    listbanned loadtxoutset logging ping preciousblock prioritisetransaction proveutreexocoins
    proveutxochaintipinclusion pruneblockchain savemempool scanblocks scantxoutset sendrawtransaction setban
    setnetworkactive signmessagewithprivkey signrawtransactionwithkey stop submitblock submitheader submitpackage
    testmempoolaccept uptime utxoupdatepsbt validateaddress verifychain verifymessage verifytxoutproof
    verifyutreexoproof verifyutxochaintipinclusionproof waitforblock waitforblockheight waitfornewblock
    "
    COMPREPLY=()
    if [ "$cur" = "=" ]; then
        name=${COMP_WORDS[COMP_CWORD - 1]} cur=""
    elif [ "$COMP_CWORD" -gt 1 ] && [ "${COMP_WORDS[COMP_CWORD - 1]}" = "=" ]; then
        name=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case $name in
        "") ;;
        -chain) mapfile -t COMPREPLY < <(compgen -W "main test testnet4 signet regtest" -- "$cur"); return ;;
        -color) mapfile -t COMPREPLY < <(compgen -W "always auto never" -- "$cur"); return ;;
        -conf | -datadir | -rpccookiefile) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        *) return ;;
    esac
    for ((n = 1; n < COMP_CWORD; n++)); do
        word=${COMP_WORDS[n]}
        [ "${COMP_WORDS[n - 1]}" = "=" ] && continue
        case $word in -* | =) ;; *) command=$word; break ;; esac
    done
    if [ -n "$command" ]; then
        if [ "$command" = help ]; then
            mapfile -t COMPREPLY < <(compgen -W "$methods --openrpc" -- "$cur")
        fi
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W "
    -addrinfo -chain= -color= -conf= -datadir= -generate -getinfo -help -ipcconnect= -named -netinfo -regtest
    -rpcclienttimeout= -rpcconnect= -rpccookiefile= -rpcid= -rpcpassword= -rpcport= -rpcuser= -rpcwait
    -rpcwaittimeout= -rpcwallet= -signet -stdin -stdinrpcpass -stdinwalletpassphrase -testnet -testnet4 -version
    $methods" -- "$cur")
    case ${COMPREPLY[*]} in *=) compopt -o nospace ;; esac
}
complete -F _btcnode_cli btcnode-cli
