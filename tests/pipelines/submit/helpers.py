"""The command in short, and what the server shows of a run."""


def submit(task, kubeflow, *arguments, **environment):
    return task.llmclf("submit", "recipe.yaml", "--host", kubeflow.url, *arguments, **environment)


def submitted(task, kubeflow, *arguments, **environment):
    done = submit(task, kubeflow, *arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def refused(task, kubeflow, *arguments, **environment):
    done = submit(task, kubeflow, *arguments, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def only(things):
    (thing,) = list(things)
    return thing


def described(name, state, identifier=None, **more):
    return {"task_id": identifier or name, "display_name": name, "state": state} | more


def look(state, *tasks, **more):
    return {"state": state, "run_details": {"task_details": list(tasks)}} | more
