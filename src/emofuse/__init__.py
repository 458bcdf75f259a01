"""Multimodal speech emotion recognition: believable numbers, models that run on your file.

A **Manifest** lists **Utterances**. A **Protocol** turns it into audited **Folds**. **Encoders**
turn utterances into cached **Features**. A **FusionModel** maps features to an
**EmotionOutput**. The **Trainer** fits it against an **Objective** and writes a **Run**. A
**Recognizer** loads a run's **bundle** and serves it.
"""

__version__ = "0.1.0"
