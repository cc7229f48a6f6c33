"""The texts that every exported model has; `packing` fills what stands in double braces."""

README = """# {{name}}, version {{number}}

A model trained by Modelyard ({{created}}, version id {{version}}). It needs Python {{minor}} (trained with {{python}})
and the packages of `requirements.lock`, and nothing of the platform.

    python{{minor}} -m venv env
    env/bin/pip install --require-hashes -r requirements.lock
    env/bin/python serve.py --port 8000

    curl -d '{"queryData": {"x": 1}}' http://127.0.0.1:8000/predict
    curl -d '{"queryData": [{"x": 1}, {"x": 2}]}' http://127.0.0.1:8000/predictMultiple

`serve.py` listens on localhost without authentication. The folder is an MLflow model, too (flavor `python_function`):

    mlflow models serve -m . --env-manager local
    mlflow.pyfunc.load_model(".").predict(dataframe)

`artifact/model.pkl` is a pickle: load it only if you trust whoever made this export.

| File | What it is |
|---|---|
| `code/` | the user's source; functions: {{functions}} |
| `modules/` | modules of the organisation that the source imports |
| `artifact/model.pkl` | what `train` returned |
| `files/` | what `train` left in its working directory |
| `tables/` | the tables of the training, where `predict` takes them |
| `requirements.lock` | every package with its hashes |
| `requirements.txt`, `python_env.yaml`, `MLmodel` | for MLflow |
| `metrics.json` | metrics and their steps |
| `modelyard.json` | names of functions, config, versions |
| `runtime/` | the code that opens the model, the same that runs in the platform |
"""

MLMODEL = """flavors:
  python_function:
    code: runtime
    data: .
    env:
      virtualenv: python_env.yaml
    loader_module: modelyard_guest.portable
    python_version: {{python}}
model_uuid: {{version}}
utc_time_created: '{{created}}'
"""

PYTHON_ENV = """python: {{python}}
build_dependencies: []
dependencies:
  - -r requirements.txt
"""
