# Completion of btcnoded for bash: made by scripts/docs; do not edit. Source it, or install it as
# /usr/share/bash-completion/completions/btcnoded

_btcnoded() {
    local cur=${COMP_WORDS[COMP_CWORD]} name=""
    COMPREPLY=()
    # bash splits words at "=": the option is before it, the value behind it
    if [ "$cur" = "=" ]; then
        name=${COMP_WORDS[COMP_CWORD - 1]} cur=""
    elif [ "$COMP_CWORD" -gt 1 ] && [ "${COMP_WORDS[COMP_CWORD - 1]}" = "=" ]; then
        name=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    case $name in
        "") ;;
        -chain) mapfile -t COMPREPLY < <(compgen -W "main test testnet4 signet regtest" -- "$cur"); return ;;
        -asmap | -blocksdir | -conf | -datadir | -debuglogfile | -includeconf | -loadblock | -pid | -rpccookiefile | -settings | -swiftsync | -walletdir) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        *) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "
    -? -acceptnonstdtxn -acceptstalefeeestimates -allowignoredconf -avoidpartialspends -blockfilterindex
    -blocksonly -blocksxor -capturemessages -cjdnsreachable -coinstatsindex -compiled -daemon -daemonwait
    -dashboard -datacarrier -disablewallet -discover -dns -dnsseed -fastprune -fixedseeds -forcednsseed
    -i2pacceptincoming -listen -listenonion -logips -loglevelalways -logratelimit -logsourcelocations
    -logthreadnames -logtimemicros -logtimestamps -natpmp -networkactive -peer-score-learning -peerblockfilters
    -peerblockinputs -peerbloomfilters -peerutreexoproofs -peerutxosets -permitbaremultisig -persistmempool
    -persistmempoolv1 -printpriority -printtoconsole -privatebroadcast -progress -proxyrandomize -regtest -reindex
    -reindex-chainstate -rest -rpcwhitelistdefault -server -shadow-stop -shrinkdebugfile -signet
    -spendzeroconfchange -stopafterblockimport -stun -swiftsync-full -swiftsync-validate -testnet -testnet4
    -txindex -txospenderindex -txreconciliation -unsafesqlitesync -upnp -utreexo-csn -utreexoindex -v2transport
    -version -walletbroadcast -walletcrosschain -walletrbf -walletrejectlongchains -whitelistforcerelay
    -whitelistrelay -xthin -addnode= -addresstype= -alertnotify= -asmap= -assumevalid= -bantime= -bind=
    -block-relay= -blockmaxweight= -blockmintxfee= -blocknotify= -blockreconstructionextratxn=
    -blockreservedweight= -blocksdir= -blockversion= -bytespersigop= -chain= -changetype= -checkaddrman=
    -checkblocks= -checklevel= -conf= -connect= -consolidatefeerate= -cpu-affinity= -dashboardtoken=
    -datacarriersize= -datadir= -dbcache= -dbcrashratio= -debug= -debugexclude= -debuglogfile= -deprecatedrpc=
    -discardfee= -dnsseedname= -downloadutxoset= -dustrelayfee= -externalip= -fallbackfee= -i2psam= -includeconf=
    -incrementalrelayfee= -keypool= -limitclustercount= -limitclustersize= -loadblock= -loglevel= -maxapsfee=
    -maxconnections= -maxmemory= -maxmempool= -maxreceivebuffer= -maxsendbuffer= -maxtipage= -maxtxfee=
    -maxuploadtarget= -mempool-eviction= -mempoolexpiry= -metrics-bind= -metrics-port= -minimumchainwork=
    -minrelaytxfee= -mintxfee= -mocktime= -onion= -onlynet= -par= -peertimeout= -pid= -port= -proxy= -prune=
    -rpcallowip= -rpcauth= -rpcbind= -rpccookiefile= -rpccookieperms= -rpcpassword= -rpcport= -rpcservertimeout=
    -rpcthreads= -rpcuser= -rpcwhitelist= -rpcworkqueue= -seednode= -settings= -shadow-validation=
    -shutdownnotify= -signer= -signetchallenge= -signetkey= -signetseednode= -startupnotify= -stopatheight=
    -stunserver= -swiftsync= -swiftsyncblock= -test= -testactivationheight= -timeout= -torcontrol= -torpassword=
    -txconfirmtarget= -uacomment= -vbparams= -wallet= -walletdir= -walletnotify= -whitebind= -whitelist=
    -zmqpubhashblock= -zmqpubhashblockhwm= -zmqpubhashtx= -zmqpubhashtxhwm= -zmqpubrawblock= -zmqpubrawblockhwm=
    -zmqpubrawtx= -zmqpubrawtxhwm= -zmqpubsequence= -zmqpubsequencehwm=
    " -- "$cur")
    case ${COMPREPLY[*]} in *=) compopt -o nospace ;; esac
}
complete -F _btcnoded btcnoded
