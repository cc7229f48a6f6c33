"""Identifiers: ten lowercase hexadecimal digits, opaque to callers, one type for each kind of thing.

Source: identifiers printed by the hosted service, lowercase hex of eight to ten digits without a prefix.
"""

import secrets
from typing import NewType

OrganizationId = NewType("OrganizationId", str)
UserId = NewType("UserId", str)
ApiKeyId = NewType("ApiKeyId", str)
ProjectId = NewType("ProjectId", str)
UploadId = NewType("UploadId", str)
DatasetId = NewType("DatasetId", str)
DatasetVersionId = NewType("DatasetVersionId", str)
OnlineTableId = NewType("OnlineTableId", str)
FeatureGroupId = NewType("FeatureGroupId", str)
FeatureGroupVersionId = NewType("FeatureGroupVersionId", str)
FeatureGroupOperationRunId = NewType("FeatureGroupOperationRunId", str)
PythonFunctionId = NewType("PythonFunctionId", str)
ModelId = NewType("ModelId", str)
ModelVersionId = NewType("ModelVersionId", str)
CodeArrivalId = NewType("CodeArrivalId", str)
ModelArtifactsExportId = NewType("ModelArtifactsExportId", str)
RevisionId = NewType("RevisionId", str)
ModelValidationId = NewType("ModelValidationId", str)
DeploymentId = NewType("DeploymentId", str)
ReplicaId = NewType("ReplicaId", str)
ServingId = NewType("ServingId", str)
BatchPredictionId = NewType("BatchPredictionId", str)
BatchPredictionVersionId = NewType("BatchPredictionVersionId", str)
FeatureGroupExportId = NewType("FeatureGroupExportId", str)
RefreshPolicyId = NewType("RefreshPolicyId", str)
RefreshPipelineRunId = NewType("RefreshPipelineRunId", str)
FileConnectorId = NewType("FileConnectorId", str)
DatabaseConnectorId = NewType("DatabaseConnectorId", str)
ApplicationConnectorId = NewType("ApplicationConnectorId", str)
RunId = NewType("RunId", str)
AgentId = NewType("AgentId", str)
#: sha256 of a blob's bytes, 64 lowercase hexadecimal digits.
Digest = NewType("Digest", str)


def new_id() -> str:
    """A fresh identifier, ten hexadecimal digits from the system's random source."""
    return secrets.token_hex(5)
