"""Names of bitcoind's options, and which of the node's own stand behind them."""

from __future__ import annotations

from functools import cache

from btcnode.config import option_table

_NAMES = """
? acceptnonstdtxn acceptstalefeeestimates addnode addresstype alertnotify allowignoredconf asmap assumevalid
avoidpartialspends bantime bind blockfilterindex blockmaxweight blockmintxfee blocknotify
blockreconstructionextratxn blockreservedweight blocksdir blocksonly blocksxor blockversion bytespersigop
capturemessages chain changetype checkaddrman checkblockindex checkblocks checklevel checkmempool checkpoints
cjdnsreachable coinstatsindex conf connect consolidatefeerate daemon daemonwait datacarrier datacarriersize datadir
dbbatchsize dbcache dbcrashratio debug debugexclude debuglogfile deprecatedrpc disablewallet discardfee discover dns
dnsseed dustrelayfee externalip fallbackfee fastprune fixedseeds forcecompactdb forcednsseed h help help-debug
i2pacceptincoming i2psam includeconf incrementalrelayfee ipcbind keypool limitancestorcount limitancestorsize
limitclustercount limitclustersize limitdescendantcount limitdescendantsize listen listenonion loadblock logips
loglevel loglevelalways logratelimit logsourcelocations logthreadnames logtimemicros logtimestamps maxapsfee
maxconnections maxmempool maxreceivebuffer maxsendbuffer maxsigcachesize maxtipage maxtxfee maxuploadtarget
mempoolexpiry minimumchainwork minrelaytxfee mintxfee mocktime natpmp networkactive onion onlynet par
peerblockfilters peerbloomfilters peertimeout permitbaremultisig persistmempool persistmempoolv1 pid port
printpriority printtoconsole privatebroadcast proxy proxyrandomize prune regtest reindex reindex-chainstate rest
rpcallowip rpcauth rpcbind rpccookiefile rpccookieperms rpcdoccheck rpcpassword rpcport rpcservertimeout rpcthreads
rpcuser rpcwhitelist rpcwhitelistdefault rpcworkqueue seednode server settings shrinkdebugfile shutdownnotify signer
signet signetchallenge signetseednode spendzeroconfchange startupnotify stopafterblockimport stopatheight test
testactivationheight testnet testnet4 timeout torcontrol torpassword txconfirmtarget txindex txospenderindex
txreconciliation uacomment unsafesqlitesync v2transport vbparams version wallet walletbroadcast walletcrosschain
walletdir walletnotify walletrbf walletrejectlongchains whitebind whitelist whitelistforcerelay whitelistrelay
zmqpubhashblock zmqpubhashblockhwm zmqpubhashtx zmqpubhashtxhwm zmqpubrawblock zmqpubrawblockhwm zmqpubrawtx
zmqpubrawtxhwm zmqpubsequence zmqpubsequencehwm
"""

CORE_OPTIONS = frozenset(_NAMES.split())
"""Every option that a bitcoind without wallet takes."""

_OWN = frozenset({"network"})


@cache
def node_fields() -> dict[str, tuple[str, str]]:
    """Field and type in ``NodeConfig``, by the option's name."""
    return {info.flag: (name, kind) for name, info, kind, _ in option_table() if name not in _OWN}
