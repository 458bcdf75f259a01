"""Encoders: utterances into feature sequences, one contract for all."""

from emofuse.registry import Registry

ENCODERS = Registry(
    "encoder",
    {
        "logmel": "emofuse.encoders.logmel:LogMel",
        "egemaps": "emofuse.encoders.egemaps:EGeMAPS",
        "acoustic": "emofuse.encoders.acoustic:Acoustic",
        "prosody": "emofuse.encoders.prosody:Prosody",
        "ngrams": "emofuse.encoders.ngrams:NGrams",
        "arrays": "emofuse.encoders.arrays:Arrays",
        "vggish": "emofuse.encoders.vggish:VGGish",
        "vggish-patches": "emofuse.encoders.vggish:VGGishPatches",
    },
)
"""Every built-in encoder, by name; any other name is a Hugging Face hub name or a local folder."""
