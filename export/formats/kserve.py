"""A KServe manifest for a model repository of Triton Inference Server."""

_MANIFEST = """\
# kubectl apply -f kserve.yaml, once the repository is where storageUri says;
# the server sees it as /mnt/models
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
spec:
  predictor:
    model:
      modelFormat:
        name: triton
        version: "2"
      protocolVersion: v2
      runtime: kserve-tritonserver
      # this directory, in storage of yours: s3://, gs://, pvc://, ...
      storageUri: pvc://models
      resources:
        requests:
          cpu: "{cores}"
          memory: 2Gi
        limits:
          cpu: "{cores}"
          memory: 2Gi
"""


def kserve_manifest(name: str, cores: int) -> str:
    """Return an InferenceService that serves a repository with KServe's Triton.

    Args:
        name: Name of the service.
        cores: Cores that it asks for.
    """
    return _MANIFEST.format(name=name, cores=cores)
