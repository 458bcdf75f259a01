"""The model card: what a bundle is, learnt from and good for, written by the program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from emofuse.manifest import Modality
    from emofuse.models.bundle_config import BundleConfig, OnnxNote

__all__ = ["model_card"]

METRIC_NAMES: Mapping[str, str] = {
    "ua": "UA (unweighted average recall)",
    "wa": "WA (accuracy)",
    "wf1": "WF1 (support-weighted F1)",
    "mf1": "MF1 (macro F1)",
}


def model_card(config: BundleConfig, state: Mapping[str, Tensor] | None = None) -> str:
    """Write the card of a bundle, in Markdown.

    Args:
        config: the bundle's configuration.
        state: its weights, for their number; None of an ONNX bundle.
    """
    sections = (
        _head(config, state),
        _classes(config),
        _encoders(config),
        _data(config),
        _figures(config),
        _answers(config),
        _provenance(config),
        _licences(config),
        _use(config),
        *([] if config.onnx is None else [_export(config.onnx)]),
        _loading(config),
    )
    return "\n\n".join(sections) + "\n"


def _cell(value: object) -> str:
    """Make a value safe inside a table or a sentence of Markdown."""
    text = " ".join(str(value).split())
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def _table(columns: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines.extend("| " + " | ".join(_cell(value) for value in row) + " |" for row in rows)
    return "\n".join(lines)


def _head(config: BundleConfig, state: Mapping[str, Tensor] | None) -> str:
    modalities = " + ".join(config.dims)
    weights = "ONNX graphs"
    if state is not None:
        weights = f"{sum(part.numel() for part in state.values()):,} numbers in `model.safetensors`"
    return (
        f"# Emotion recogniser: {_cell(config.model.name)} on {modalities}\n\n"
        f"A model of emofuse {_cell(config.emofuse)} that names the emotion of an utterance from "
        f"{modalities} features. {weights}; `config.json` "
        "says how to use them. This card was written by the program that trained the model."
    )


def _export(note: OnnxNote) -> str:
    """Say how the graphs came to be and how far they are from what was trained."""
    check = note.check
    kept = {
        "fp32": "Weights are in fp32.",
        "fp16": "Weights of encoders are kept in fp16 and computed with in fp32.",
        "int8": "Products of matrices in encoders are computed in 8 bits, other weights of theirs "
        "are kept in fp16.",
    }
    return (
        f"## Export\n\nONNX, opset {note.opset}, from the weights `{note.source[:12]}`. "
        f"{kept[note.precision]} Compared with what was exported on {_cell(check.on)}, "
        f"{check.answers} answers: {100 * check.agreed:.1f} % the same emotion (at least "
        f"{100 * check.agreement:.1f} % asked for), greatest difference of a probability "
        f"{check.largest:.2g} (at most {check.tolerance:g})."
    )


def _classes(config: BundleConfig) -> str:
    scheme = config.scheme
    text = f"## Classes\n\nScheme `{_cell(scheme.name)}`: {_cell(', '.join(scheme.classes))}."
    if scheme.merges:
        merged = ", ".join(f"{label} as {target}" for label, target in scheme.merges.items())
        text += f" Counted together: {_cell(merged)}."
    if scheme.drops:
        text += f" Left out of training: {_cell(', '.join(scheme.drops))}."
    return text


def _provenance_of(description: Mapping[str, Any]) -> Mapping[str, Any]:
    found = description.get("provenance")
    return found if isinstance(found, dict) else {}


def _encoders(config: BundleConfig) -> str:
    rows: list[tuple[object, ...]] = []
    for modality, description in config.encoders.items():
        spec = description.get("spec")
        name = spec.get("name", "unknown") if isinstance(spec, dict) else "unknown"
        rows.append(
            (
                modality,
                name,
                str(description.get("revision", "unknown"))[:16],
                description.get("dim", "unknown"),
                _provenance_of(description).get("licence", "unknown"),
            )
        )
    columns = ("modality", "encoder", "revision", "size", "licence")
    absent = [name for name in config.encoders if _place(config, name) is None]
    notes = [_learnt(config, name) for name in config.encoders if _is_learnt(config, name)]
    if len(absent) == len(config.encoders):
        notes.append("The encoders are not part of the bundle.")
    elif absent:
        notes.append(f"The {_cell(' and '.join(absent))} encoder is not part of the bundle.")
    return "\n\n".join(["## Encoders", _table(columns, rows), *notes])


def _place(config: BundleConfig, modality: Modality) -> str | None:
    """Give the file or folder of an encoder that is part of the bundle."""
    if config.onnx is not None and modality in config.onnx.encoders:
        return config.onnx.encoders[modality].file
    return config.encoders_local.get(modality)


def _is_learnt(config: BundleConfig, modality: Modality) -> bool:
    return _place(config, modality) is not None and "learnt" in config.encoders[modality]


def _learnt(config: BundleConfig, modality: Modality) -> str:
    """Say how an encoder that travels with the bundle came to be."""
    found = config.encoders[modality].get("learnt")
    note: Mapping[str, Any] = found if isinstance(found, dict) else {}
    words = {"adapt": "adapted beforehand", "finetune": "fine-tuned together with the model"}
    how = " and ".join(words[one] for one in note.get("how", ()) if one in words) or "changed"
    corpora = ", ".join(str(name) for name in note.get("corpora", ())) or "a corpus without a name"
    labels = "with their emotion labels" if note.get("labels") else "without their labels"
    return (
        f"The {modality} encoder is part of the bundle (`{_place(config, modality)}`): it "
        f"started from the one named above and was **{how}**, on {note.get('utterances', 0):,} "
        f"utterances of {_cell(corpora)}, {labels}, train and dev of one fold alone."
    )


def _data(config: BundleConfig) -> str:
    data = config.data
    rows: list[tuple[object, ...]] = [
        (name, data.licences.get(name, "unknown")) for name in data.corpora
    ]
    count = "" if data.utterances is None else f"{data.utterances:,} utterances"
    languages = f"languages: {', '.join(data.languages)}" if data.languages else ""
    note = ", ".join(part for part in (count, languages) if part)
    text = "## Training data\n\n" + _table(("corpus", "licence"), rows or [("unknown", "unknown")])
    if note:
        text += f"\n\n{_cell(note[:1].upper() + note[1:])}."
    if "synthetic" in data.corpora:
        text += (
            "\n\n**The corpus `synthetic` is made by a program. It holds no human voice, and the "
            "figures below say nothing about real speech.**"
        )
    return text


def _figures(config: BundleConfig) -> str:
    protocol = config.protocol
    rows: list[tuple[object, ...]] = []
    for name, value in config.metrics.items():
        if name.removesuffix("_low").removesuffix("_high") != name:
            continue
        low, high = config.metrics.get(f"{name}_low"), config.metrics.get(f"{name}_high")
        interval = "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"
        shown = "not measured" if value is None else f"{100 * value:.1f}"
        rows.append((METRIC_NAMES.get(name, name), shown, interval))
    table = _table(("metric", "per cent", "95 % interval"), rows) if rows else "Not measured."
    return (
        "## Figures\n\n"
        f"Protocol: {_cell(protocol.name)}. Audit: {_cell(protocol.stamp)}. "
        f"Speaker-independent: {_cell(protocol.speaker_independent)}.\n\n{table}\n\n"
        "They are the figures of all folds and seeds of the run together, each utterance judged by "
        "a model that did not learn from it. The weights here are those of one of these "
        "trainings, chosen without looking at test."
    )


def _provenance(config: BundleConfig) -> str:
    notes = []
    for modality, description in config.encoders.items():
        provenance = _provenance_of(description)
        labelled = {str(name) for name in provenance.get("labelled_on") or ()}
        adapted = {str(name) for name in provenance.get("adapted_on") or ()}
        seen = sorted((labelled - adapted) & set(config.data.corpora))
        if adapted & set(config.data.corpora) and not seen:
            notes.append(
                f"- adapted: upper layers of the {modality} encoder learnt from emotion labels of "
                f"{_cell(', '.join(sorted(adapted)))}; training checks utterance by utterance that "
                "it knew none of test."
            )
        elif seen:
            notes.append(
                f"- **contaminated**: the {modality} encoder saw {_cell(', '.join(seen))} with "
                "emotion labels before; the figures are too good."
            )
        elif not provenance.get("known"):
            notes.append(
                f"- unknown: nobody wrote down which corpora the {modality} encoder saw; it may "
                "have seen the test speakers."
            )
        else:
            notes.append(f"- clean: the {modality} encoder saw no emotion label of these corpora.")
    return "## What the encoders saw before\n\n" + "\n".join(notes)


BINDING = ("NC", "non-commercial", "research", "signed request", "registration")


def _licences(config: BundleConfig) -> str:
    """Say which licences of data and weights bind whoever uses the bundle."""
    named = [(f"corpus {name}", licence) for name, licence in config.data.licences.items()]
    for modality, description in config.encoders.items():
        licence = str(_provenance_of(description).get("licence", "unknown"))
        named.append((f"{modality} encoder", licence))
    bound = [one for one in named if any(word in one[1] for word in BINDING)]
    open_ones = [one for one in named if one[1] in ("unknown", "none stated", "your own")]
    lines = [f"- {what}: {_cell(licence)}" for what, licence in bound]
    if lines:
        lines = ["Not for every use: these licences of data and weights follow the model.", *lines]
    else:
        lines = ["No licence of data or weights that is known forbids commercial use."]
    lines += [f"- {what}: licence {_cell(licence)}, ask its owner" for what, licence in open_ones]
    return "## Licences that follow the model\n\n" + "\n".join(lines)


def _answers(config: BundleConfig) -> str:
    """Say how scores become answers, as far as the bundle's rules can be read."""
    start = "## What its probabilities mean\n\n"
    rules = config.calibration
    if not rules:
        return start + (
            "They are as the model gives them, usually too sure: nothing was held out to calibrate "
            "them by. No set of emotions and no silence is offered."
        )
    options, speakers = rules.get("options") or {}, rules.get("speakers")
    who = "" if speakers is None else f" of {speakers} speakers"
    on = f"{rules.get('items')} utterances{who} ({_cell(rules.get('fitted_on'))})"
    lines = [f"Fitted on {on} that the model did not learn from, never on test:"]
    own = ", ".join(rules.get("corpora") or ())
    more = f", of its own for {_cell(own)}" if own else ""
    lines.append(f"- scaling: {_cell(options.get('scaling'))}{more}")
    kept = 100 * (1 - float(options.get("miss", 0)))
    like = "new speakers" if options.get("sets_by") == "speaker" else "utterances like these"
    lines.append(f"- a set of emotions that holds the right one for {kept:.0f} % of {like}")
    risk = f"{100 * float(options.get('risk', 0)):.0f} %"
    limit, answered = float(rules.get("answer_above", 0)), float(rules.get("answered", 0))
    if limit > 1:
        lines.append(f"- no confidence kept mistakes under {risk}: every answer is too unsure")
    else:
        lines.append(
            f"- under a confidence of {limit:.2f} an answer is marked as too unsure: "
            f"{100 * answered:.0f} % of these were answered, at most {risk} of them wrongly"
        )
    lines += [f"- {_cell(note)}" for note in rules.get("notes") or ()]
    return start + "\n".join(lines)


def _use(config: BundleConfig) -> str:
    if len(config.dims) == 1:
        missing = f"It needs {next(iter(config.dims))}."
    elif config.trained_with_dropout:
        missing = (
            "It was trained with whole modalities left out at random, so it also answers when one "
            "is missing, and says so."
        )
    else:
        missing = (
            "It was trained with every modality present; it may answer when one is missing, but "
            "such an answer is less reliable, and it says so."
        )
    return (
        "## Intended use and limits\n\n"
        "For research, and for sorting recordings that a person then listens to. It names the "
        "emotion that listeners would name in short utterances like those it was trained on; it "
        "does not know what anyone feels. Other languages, ages, microphones and rooms lower the "
        "figures above. Not for decisions about people: hiring, policing, credit, health, "
        f"education.\n\n{missing}"
    )


def _loading(config: BundleConfig) -> str:
    pair = {"audio", "text"} <= set(config.dims)
    call = 'audio="file.wav", text="what was said"' if pair else 'audio="file.wav"'
    if "audio" not in config.dims:
        call = 'text="what was said"'
    return (
        "## How to load it\n\n```sh\nemofuse predict file.wav --model THIS_FOLDER\n```\n\n"
        "```python\nfrom emofuse import Recognizer\n\n"
        f'recognizer = Recognizer.load("THIS_FOLDER")\nprint(recognizer.recognise({call}))\n```'
    )
