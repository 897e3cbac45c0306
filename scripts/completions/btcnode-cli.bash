# Completion of btcnode-cli for bash: made by scripts/docs; do not edit. Source it, or install it as
# /usr/share/bash-completion/completions/btcnode-cli

_btcnode_cli() {
    local cur=${COMP_WORDS[COMP_CWORD]} name="" word command="" n
    local methods="
    abandontransaction abortprivatebroadcast abortrescan abortutxosetdownload addnode analyzepsbt backupwallet
    bumpfee clearbanned combinepsbt combinerawtransaction converttopsbt createmultisig createpsbt
    createrawtransaction createwallet createwalletdescriptor decodepsbt decoderawtransaction decodescript
    deriveaddresses descriptorprocesspsbt disconnectnode downloadutxoset dumphints dumptxoutset encryptwallet
    enumeratesigners estimatesmartfee exportasmap finalizepsbt fundrawtransaction getaddednodeinfo
    getaddressesbylabel getaddressinfo getaddrmaninfo getbalance getbalances getbestblockhash getblock
    getblockchaininfo getblockcount getblockfilter getblockfrompeer getblockhash getblockheader getblockstats
    getblocktemplate getchainstates getchaintips getchaintxstats getconnectioncount getdeploymentinfo
    getdescriptoractivity getdescriptorinfo getdifficulty gethdkeys getindexinfo getmemoryinfo getmempoolancestors
    getmempoolcluster getmempooldescendants getmempoolentry getmempoolinfo getmininginfo getnettotals
    getnetworkhashps getnetworkinfo getnewaddress getnodeaddresses getpeerinfo getpeerscores
    getprioritisedtransactions getprivatebroadcastinfo getrawchangeaddress getrawmempool getrawtransaction
    getreceivedbyaddress getreceivedbylabel getrpcinfo getswiftsyncinfo getsyncprofile getsyncstate gettransaction
    gettxout gettxoutproof gettxoutsetinfo gettxspendingprevout getutreexoproof getutreexoroots getwalletinfo
    getzmqnotifications help importdescriptors importmempool importprunedfunds joinpsbts keypoolrefill
    listaddressgroupings listbanned listdescriptors listlabels listlockunspent listreceivedbyaddress
    listreceivedbylabel listsinceblock listtransactions listunspent listwalletdir listwallets loadtxoutset
    loadwallet lockunspent logging migratewallet ping preciousblock prioritisetransaction proveutreexocoins
    proveutxochaintipinclusion pruneblockchain psbtbumpfee removeprunedfunds rescanblockchain restorewallet
    savemempool scanblocks scantxoutset send sendall sendmany sendrawtransaction sendtoaddress
    sendutreexotransaction setban setlabel setnetworkactive setwalletflag showutreexocoins signmessage
    signmessagewithprivkey signrawtransactionwithkey signrawtransactionwithwallet simulaterawtransaction stop
    submitblock submitheader submitpackage testmempoolaccept unloadwallet uptime utxoupdatepsbt validateaddress
    verifychain verifymessage verifytxoutproof verifyutreexoproof verifyutxochaintipinclusionproof waitforblock
    waitforblockheight waitfornewblock walletcreatefundedpsbt walletdisplayaddress walletlock walletpassphrase
    walletpassphrasechange walletprocesspsbt
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
