"""What an external signer (-signer) has for wallets."""

from __future__ import annotations

from btcnode.descriptors.descriptor import Descriptor
from btcnode.descriptors.errors import DescriptorError
from btcnode.descriptors.parser import parse_descriptor
from btcnode.descriptors.provider import SigningProvider
from btcnode.services.external_signer import ExternalSigner, SignerError, the_signer
from btcnode.settings.settings import Settings


async def signer_of(settings: Settings) -> ExternalSigner:
    """The external signer of the options; raises SignerError."""
    return await the_signer(settings.rpc.signer, settings.params.chain)


async def descriptors_of_signer(settings: Settings) -> list[tuple[Descriptor, bool]]:
    """What the external signer has for new wallets, each with whether it is for change; raises SignerError."""
    found = []
    for internal, texts in enumerate(await (await signer_of(settings)).descriptors()):
        for text in texts:
            try:
                descriptor = parse_descriptor(text, settings.params, SigningProvider())[0]
            except DescriptorError as error:
                why = f'SetupDescriptorScriptPubKeyMans: Invalid descriptor "{text}" ({error})'
                raise SignerError(why) from None
            found.append((descriptor, bool(internal)))
    return found
