"""What a guest needs to bring a version to life: its message and its files, in the order in which it takes them."""

from modelyard.ids import Digest
from modelyard.models.versions import Deployable


def model_blobs(served: Deployable) -> tuple[Digest, ...]:
    """The tree of its code, the artifact, and the files that the training left, as far as there are such."""
    return tuple(each for each in (served.code.tree, served.artifact, served.files) if each is not None)


def model_message(served: Deployable) -> dict[str, object]:
    """What a guest is told of a model; see `sandbox/guest/model.py`."""
    return {
        **served.code.message,
        "modules": served.modules,
        "predict_function": served.functions.predict,
        "predict_many_function": served.functions.predict_many,
        "initialize_function": served.functions.initialize,
        "artifact": True,
        "artifact_digest": served.artifact,
        "files": served.files is not None,
        "tables": [{"name": each.table_name} for each in served.tables],
        "thread_safe": served.is_thread_safe,
        "arguments": served.prediction_config,
    }
