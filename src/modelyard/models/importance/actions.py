"""Feature importance of trained versions: asked for, and how far it is."""

from modelyard.actions import Call, action, while_status
from modelyard.errors import ConflictError, DataNotFoundError, NotReadyError
from modelyard.execution import After
from modelyard.ids import ModelVersionId
from modelyard.models.importance import asking
from modelyard.models.importance.wire import FeatureImportanceShape, ImportanceProgressShape
from modelyard.models.versions import get_model_version


@action("GET", errors=(DataNotFoundError, ConflictError, NotReadyError), writes=True)
def get_feature_importance_by_model_version(
    call: Call, *, model_version: ModelVersionId
) -> FeatureImportanceShape | After:
    """How much a version's predictions hang on each column of its table: permutation importance, measured once.

    A guest loads the version, takes a sample of the very rows that it was trained on, exchanges one column after the
    other among them, and sees how much worse the predictions get. The first call waits for that; the result is kept.
    The column that is predicted is the TARGET of the training config (of the version, or else of the model, where
    setModelTrainingConfig sets it without a new training), or the one mapped to TARGET in the project.
    """
    version = get_model_version(call.session, call.organization_id, model_version)
    return asking.importance_of(call, version)


@action("GET", errors=(DataNotFoundError,), under_way=while_status("PENDING", "RUNNING"))
def describe_feature_importance(call: Call, *, model_version: ModelVersionId) -> ImportanceProgressShape:
    """How far the measuring that getFeatureImportanceByModelVersion began has come, and why it failed if it did."""
    version = get_model_version(call.session, call.organization_id, model_version)
    return asking.progress_of(call, version)
