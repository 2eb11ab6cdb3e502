"""Component: finish."""

from kfp import dsl
from kfp.dsl import PipelineTaskFinalStatus

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def finish(status: PipelineTaskFinalStatus):
    """End the pipeline's run in MLflow as finished or failed; runs last, whatever happened before.

    Args:
        status: How the other steps ended; Kubeflow fills it in.
    """
    from llmclf_core.steps.finish import finish
    from llmclf_core.steps.process import step

    with step("finish"):
        finish(status.state)
