"""Protocols: a manifest into audited folds."""

from emofuse.registry import Registry

PROTOCOLS = Registry(
    "protocol",
    {
        "leave-one-session-out": "emofuse.protocols.group_out:LeaveOneSessionOut",
        "leave-one-speaker-out": "emofuse.protocols.group_out:LeaveOneSpeakerOut",
        "leave-one-corpus-out": "emofuse.protocols.group_out:LeaveOneCorpusOut",
        "group-kfold": "emofuse.protocols.group_kfold:GroupKFold",
        "text-disjoint": "emofuse.protocols.text_disjoint:TextDisjoint",
        "official": "emofuse.protocols.official:Official",
        "given": "emofuse.protocols.given:Given",
        "random": "emofuse.protocols.stratified:Random",
        "legacy-fleser": "emofuse.protocols.legacy:LegacyFleSER",
        "legacy-4m-ser": "emofuse.protocols.legacy:Legacy4MSER",
        "legacy-vga-fusion": "emofuse.protocols.legacy:LegacyVGAFusion",
        "legacy-copenhagen": "emofuse.protocols.legacy:LegacyCopenhagen",
        "legacy-foal-net": "emofuse.protocols.legacy:LegacyFoalNet",
    },
)
"""Every protocol, by name."""
