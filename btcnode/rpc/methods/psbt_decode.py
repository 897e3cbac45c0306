"""What a partially signed transaction says."""

from __future__ import annotations

from typing import Any

from btcnode.descriptors.errors import PsbtError
from btcnode.descriptors.psbt import Psbt
from btcnode.descriptors.psbt_reader import decode_psbt
from btcnode.rpc.errors import RpcCode, RpcError
from btcnode.rpc.methods.blocks import SCRIPT_RESULT
from btcnode.rpc.methods.rawtransactions import TX_RESULT
from btcnode.rpc.psbt_json import psbt_json
from btcnode.rpc.spec import Arg, Kind, Result, arr, coins, dyn, hexed, number, obj, rpc, string
from btcnode.rpc.transactions import expect
from btcnode.services.parts import NodeParts

PSBT_ARG = Arg("psbt", Kind.STR, "The PSBT in base64")


def parse_psbt(text: Any) -> Psbt:
    """A PSBT in base64; raises RpcError."""
    try:
        return decode_psbt(expect(text, "string"))
    except PsbtError as error:
        raise RpcError(RpcCode.DESERIALIZATION_ERROR, f"TX decode failed {error}") from None


def _script(key: str, text: str) -> Result:
    return obj(key, text, string("asm", "In words"), hexed("hex", "In hex"), string("type", "Its type"), optional=True)


_ORIGIN = (
    string("pubkey", "The key"),
    string("master_fingerprint", "First four bytes of the hash of the root key"),
    string("path", "The path from there"),
)
_PROPRIETARY = obj(
    "",
    "",
    hexed("identifier", "Whose it is"),
    number("subtype", "Kind"),
    hexed("key", "The whole key"),
    hexed("value", "The value"),
)
_KEYS = arr("bip32_derivs", "Where keys come from", obj("", "", *_ORIGIN), optional=True)
_TAPROOT_KEYS = arr(
    "taproot_bip32_derivs",
    "Where x-only keys come from, and the hashes of the leaves that have them",
    obj("", "", *_ORIGIN, arr("leaf_hashes", "The leaves", hexed("", "Hash of a leaf"))),
    optional=True,
)
_INTERNAL_KEY = hexed("taproot_internal_key", "The internal key", optional=True)
_AGGREGATES = arr(
    "musig2_participant_pubkeys",
    "Aggregate keys and whose keys are in them",
    obj(
        "",
        "",
        hexed("aggregate_pubkey", "The aggregate key"),
        arr("participant_pubkeys", "The keys in it", hexed("", "A key")),
    ),
    optional=True,
)
_OWN = (
    dyn("unknown", "Unknown fields", hexed("key", "A field"), optional=True),
    arr("proprietary", "Fields for own uses", _PROPRIETARY, optional=True),
)


def _musig(key: str, value: str, text: str) -> Result:
    return arr(
        key,
        text,
        obj(
            "",
            "",
            hexed("participant_pubkey", "Whose it is"),
            hexed("aggregate_pubkey", "The aggregate key it is for"),
            hexed("leaf_hash", "The leaf it is for; none for the key path", optional=True),
            hexed(value, "The value"),
        ),
        optional=True,
    )


_INPUT = obj(
    "",
    "",
    obj("non_witness_utxo", "The transaction it spends from", *TX_RESULT, optional=True),
    obj(
        "witness_utxo",
        "The output it spends",
        coins("amount", "Its amount"),
        obj("scriptPubKey", "Its script", *SCRIPT_RESULT),
        optional=True,
    ),
    dyn("partial_signatures", "Signatures by key", string("pubkey", "Signature"), optional=True),
    string("sighash", "Hash type to sign with", optional=True),
    _script("redeem_script", "Redeem script"),
    _script("witness_script", "Witness script"),
    _KEYS,
    obj("final_scriptSig", "Final script", string("asm", "In words"), hexed("hex", "In hex"), optional=True),
    arr("final_scriptwitness", "Final witness", hexed("", "Element"), optional=True),
    *(
        dyn(f"{name}_preimages", "Preimages by hash", string("hash", "Preimage"), optional=True)
        for name in ("ripemd160", "sha256", "hash160", "hash256")
    ),
    hexed("taproot_key_path_sig", "Signature for the key path", optional=True),
    arr(
        "taproot_script_path_sigs",
        "Signatures for leaves",
        obj("signature", "", string("pubkey", "Key"), string("leaf_hash", "Leaf"), string("sig", "Signature")),
        optional=True,
    ),
    arr(
        "taproot_scripts",
        "Leaves",
        obj(
            "",
            "",
            hexed("script", "Script"),
            number("leaf_ver", "Version"),
            arr("control_blocks", "Control blocks", hexed("", "Control block")),
        ),
        optional=True,
    ),
    _TAPROOT_KEYS,
    _INTERNAL_KEY,
    hexed("taproot_merkle_root", "Root of the tree", optional=True),
    _AGGREGATES,
    _musig("musig2_pubnonces", "pubnonce", "Public nonces"),
    _musig("musig2_partial_sigs", "partial_sig", "Partial signatures"),
    *_OWN,
)
_OUTPUT = obj(
    "",
    "",
    _script("redeem_script", "Redeem script"),
    _script("witness_script", "Witness script"),
    _KEYS,
    _INTERNAL_KEY,
    arr(
        "taproot_tree",
        "The leaves of the tree, depth first",
        obj("tuple", "", number("depth", "Depth"), number("leaf_ver", "Version"), string("script", "Script")),
        optional=True,
    ),
    _TAPROOT_KEYS,
    _AGGREGATES,
    *_OWN,
)


@rpc(
    "rawtransactions",
    "A partially signed transaction as JSON.",
    PSBT_ARG,
    returns=obj(
        "",
        "",
        obj("tx", "The transaction", *TX_RESULT),
        arr(
            "global_xpubs",
            "Extended keys",
            obj(
                "",
                "",
                string("xpub", "The key"),
                hexed("master_fingerprint", "First four bytes of the hash of the root key"),
                string("path", "The path from there"),
            ),
        ),
        number("psbt_version", "Version of the format"),
        arr("proprietary", "Fields for own uses", _PROPRIETARY),
        dyn("unknown", "Unknown fields", hexed("key", "A field")),
        arr("inputs", "Inputs", _INPUT),
        arr("outputs", "Outputs", _OUTPUT),
        coins("fee", "The fee, when all amounts are known", optional=True),
    ),
    examples=(("psbt",),),
)
def decodepsbt(node: NodeParts, psbt: str) -> dict[str, Any]:
    """See the declaration."""
    return psbt_json(parse_psbt(psbt), node.params)
