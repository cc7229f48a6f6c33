"""The shapes of feature importance that callers see. Source: the SDK's `feature_importance.py`."""

import msgspec

from modelyard.models.wire import UserExceptionShape


class ImportanceDetailsShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How it was measured. A key of this platform's own."""

    #: The column that is predicted, and the table that it and the features are of.
    target: str
    table_name: str
    feature_group_version: str
    #: R2 (one minus the mean squared error over the variance of the target) or ACCURACY; an importance is its loss.
    metric: str
    #: What the version reaches on the sample as it is.
    score: float
    #: Rows of the sample, and how often each column was exchanged among them.
    rows: int
    repeats: int
    seed: int
    #: Feature -> standard deviation of its importance over the repeats.
    deviations: dict[str, float]


class FeatureImportanceShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How much the predictions hang on each column."""

    #: Feature -> loss of the metric when its values are exchanged among the rows, the most important first.
    permutation_feature_importance: dict[str, float]
    #: The other methods are not used here.
    shap_feature_importance: None = None
    lime_feature_importance: None = None
    null_feature_importance: None = None
    lofo_feature_importance: None = None
    ebm_feature_importance: None = None
    details: ImportanceDetailsShape


class ImportanceProgressShape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How far a measuring has come."""

    model_version: str
    #: PENDING, RUNNING, COMPLETE, FAILED.
    status: str
    target: str
    #: Columns that were measured, of how many; null until the model is loaded.
    measured: int
    columns: int | None
    waiting_for: str | None
    error: str | None
    #: What the user's code raised.
    exception: UserExceptionShape | None
