"""Lineage: how exactly a version was made, and what hangs on it. An action of this platform's own."""

from modelyard.actions import Call, action
from modelyard.datasets.finding import get_version as get_dataset_version
from modelyard.errors import ConflictError, DataNotFoundError, InvalidParameterError
from modelyard.feature_groups.tables import get_version as get_feature_group_version
from modelyard.ids import DatasetVersionId, FeatureGroupVersionId, ModelVersionId
from modelyard.models import ancestry
from modelyard.models.ancestry import Key
from modelyard.models.versions import get_model_version
from modelyard.models.wire import LineageShape


@action("GET", errors=(DataNotFoundError, InvalidParameterError, ConflictError))
def describe_lineage(
    call: Call,
    *,
    feature_group_version: FeatureGroupVersionId | None = None,
    model_version: ModelVersionId | None = None,
    dataset_version: DatasetVersionId | None = None,
) -> LineageShape:
    """The exact versions, code and packages that a version was made from, all the way up, and what was made from it.

    Pass one of the three. The first of `ancestors` is the version itself.
    """
    given = [each for each in (feature_group_version, model_version, dataset_version) if each is not None]
    if len(given) != 1:
        raise InvalidParameterError("Pass one of featureGroupVersion, modelVersion and datasetVersion")
    if feature_group_version is not None:
        get_feature_group_version(call.session, call.organization_id, feature_group_version)
        start = Key(ancestry.GROUP, feature_group_version)
    elif model_version is not None:
        get_model_version(call.session, call.organization_id, model_version)
        start = Key(ancestry.MODEL, model_version)
    else:
        get_dataset_version(call.session, call.organization_id, DatasetVersionId(given[0]))
        start = Key(ancestry.DATASET, given[0])
    return LineageShape(
        ancestors=ancestry.upwards(call.session, start), descendants=ancestry.downwards(call.session, start)
    )
