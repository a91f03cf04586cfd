# The order of the notebooks as a graph. A study file (studies/NAME.yaml) says what is run:
#     snakemake --configfile studies/demo.yaml --cores 2
# studies/demo.yaml holds every setting; a study file names what it changes.
import json
import logging
import re
import shlex
import sys
from pathlib import Path

import yaml
from snakemake.logging import logger
from snakemake.settings.enums import Quietness

from dfxlib.data.descriptions import StrictLoader
from dfxlib.names import CLASSES
from dfxlib.study import costs, settings
from dfxlib.system.files import code_hash, hold

# `--quiet all` would hide Snakemake's own errors as well. Until jobs start (onstart), nobody else tells what is wrong.
ERRORS = logging.StreamHandler()
ERRORS.setLevel(logging.ERROR)
if Quietness.ALL in (workflow.output_settings.quiet or ()):
    logger.addHandler(ERRORS)

try:
    DEMO = yaml.safe_load(Path("studies/demo.yaml").read_text(encoding="utf-8"))
    for file in workflow.configfiles:
        yaml.load(Path(file).read_text(encoding="utf-8"), Loader=StrictLoader)  # Snakemake takes the last of equal keys
    STUDY = settings.check_study(settings.complete_study(config, DEMO))
except yaml.YAMLError as error:
    sys.exit(f"study file {file}: {error}; name it once")
except (ValueError, OSError, ModuleNotFoundError) as error:
    sys.exit(f"study: {error}")

RUN = f"runs/{STUDY['study']}"
BACKBONES = list(settings.backbone_folders(STUDY))
# A fixed number of threads, since sums depend on it; idle ones leave their core to another job.
ENV = f"OMP_NUM_THREADS={STUDY['threads']} MKL_NUM_THREADS={STUDY['threads']} OMP_WAIT_POLICY=passive"
# A terminal gets one live line for all that is at work (onstart), a log a line an epoch.
PROGRESS = "" if sys.stderr and sys.stderr.isatty() else "--progress"
EXECUTE = f"{ENV} {shlex.quote(sys.executable)} -m dfxlib execute {PROGRESS}"

# Models stand below base/ or complete/, those of a variant below variant/NAME: the wildcard `kind`. A variant is a
# backbone that learns the three natures at once, or a complete model made otherwise.
VARIANTS = {f"variant/{name}": settings.is_three_way(STUDY, name) for name in STUDY["variants"]}
THREE_WAY = [kind for kind, three_way in VARIANTS.items() if three_way]
OTHERS = [kind for kind, three_way in VARIANTS.items() if not three_way]


def every(*kinds):
    """Marks of the finished runs of these kinds, of every backbone and seed."""
    return expand(f"{RUN}/{{kind}}/{{backbone}}/seed{{seed}}/.stamp", kind=kinds, backbone=BACKBONES, seed=STUDY["seeds"])


def base_models(wildcards):
    """The base models that a complete model reads: its variant's own, or the study's."""
    own = settings.base_variant(STUDY, named(wildcards)["variant"])
    folder = f"{RUN}/variant/{own}" if own else f"{RUN}/base"
    return expand(f"{folder}/{wildcards.backbone}/{{nature}}/seed{wildcards.seed}/.stamp", nature=CLASSES)


def science(step):
    """The parameters of a notebook as text: the only thing besides code that makes it run again."""
    return lambda wildcards: json.dumps(settings.science(STUDY, step, **named(wildcards)))


def named(wildcards):
    """What the folder of a run names: backbone, nature, seed and, below variant/, a variant."""
    found = dict(wildcards)
    _, _, variant = found.pop("kind", "").partition("variant/")
    return found | {"variant": variant}


def place(step):
    """Where a run happens: in the command but not in `params`, so that a change of device reruns nothing."""
    return f"-y {shlex.quote(json.dumps(settings.place(STUDY, step)))}"


def data_of_the_study(wildcards):
    """The manifest's hash: work is repeated when the data are others, not when they were only read again."""
    checkpoints.manifest.get()  # named by every step, or what follows a step that was current would be repeated
    return f"{RUN}/manifest/manifest.csv.sha256"


GPU = STUDY["gpus_per_job"]
OF_A_MODEL = "{kind}/{backbone}/seed{seed}"
COMPLETE = f"{RUN}/complete/{{backbone}}/seed{{seed}}/.stamp"
EXTERNAL = list(STUDY["external"].values())  # scores of other people's detectors
# The card of an exported model has what both tests found.
TESTED = [f"{RUN}/{test}/{{backbone}}/seed{{seed}}/.stamp" for test in ("robustness", "generalization")]
# In the order in which jobs are taken when several could start: what others wait for first.
STEPS = {  # notebook, folder, what it needs besides the data, GPUs, kinds of models
    "base": ("10_train_base_model", "{kind}/{backbone}/{nature}/seed{seed}", [], GPU, ["base", *OTHERS]),
    "complete": ("20_train_complete_model", OF_A_MODEL, base_models, GPU, ["complete", *OTHERS]),
    "robustness": ("30_jpeg_robustness", "robustness/{backbone}/seed{seed}", [COMPLETE, *EXTERNAL], GPU, []),
    "generalization": ("40_generalization", "generalization/{backbone}/seed{seed}", [COMPLETE, *EXTERNAL], GPU, []),
    "detection": ("60_detect_images", "detection/{backbone}/seed{seed}", TESTED, GPU, []),
    "three_way": ("15_train_three_way_baseline", OF_A_MODEL, [], GPU, THREE_WAY),
    "baselines": ("50_baselines_and_ablations", "baselines", [*every("complete", *VARIANTS), *EXTERNAL], 0, []),
    "report": ("90_report", "report", [f"{RUN}/baselines/.stamp", *every("detection")], 0, []),
}
# Further networks under `untouched` are further readings, which may change the mark that these steps name.
MARKED = {"mark": json.dumps(STUDY["untouched"])} if STUDY["untouched"] else {}
MARK = dict.fromkeys(("complete", "generalization", "baselines"), MARKED)
HOW = {step: f"--gpus {GPU} {place(step)}" for step in STEPS}
HOW |= {"baselines": f"-p run_root {RUN}", "report": f"--page index.html -p run_root {RUN}"}


wildcard_constraints:
    backbone="|".join(map(re.escape, BACKBONES)),
    nature="|".join(CLASSES),
    seed=r"\d+",


onstart:
    # Snakemake's own lock outlives a kill, and lifting it would not ask whether somebody is at work. The profiles
    # switch it off; this one ends with its process. Orphans of a killed call are waited for, run by run.
    if hold(Path(f"runs/.{STUDY['study']}.lock")) is None:
        sys.exit(f"study {STUDY['study']}: another call is at work on it in this folder; wait for it to end")
    costs.watch(STUDY, DEMO, cores=workflow.cores)
    logger.removeHandler(ERRORS)


# Snakemake deletes a job's outputs before it starts it. Its own mark is therefore not the `.done` that vouches for a
# result, but a stamp beside it: where a run fails, the earlier result stays finished.
rule all:
    input:
        f"{RUN}/report/.stamp",


checkpoint manifest:
    input:
        nb=ancient("notebooks/00_prepare_dataset.ipynb"),
    output:
        f"{RUN}/manifest/.stamp",
    params:
        science=science("manifest"),
        # Another data root means other data, so it counts as science in this one step.
        # A function, since Snakemake takes braces in a text for wildcards.
        data=lambda wildcards: STUDY["data_root"],
        code=code_hash("notebooks/00_prepare_dataset.ipynb"),
    threads: STUDY["threads"]
    resources:
        how=place("manifest"),
    shell:
        "{EXECUTE} {input.nb} {RUN}/manifest/notebook.ipynb {resources.how} -y {params.science:q} && touch {output}"


for STEP, (NOTEBOOK, FOLDER, NEEDS, GPUS, KINDS) in STEPS.items():

    rule:
        name:
            STEP
        input:
            nb=ancient(f"notebooks/{NOTEBOOK}.ipynb"),
            manifest=data_of_the_study,
            runs=NEEDS,
        output:
            f"{RUN}/{FOLDER}/.stamp",
        wildcard_constraints:
            kind="|".join(map(re.escape, KINDS)) or "-",
        params:
            science=science(STEP),
            code=code_hash(f"notebooks/{NOTEBOOK}.ipynb"),
            folder=f"{RUN}/{FOLDER}",
            **MARK.get(STEP, {}),
        threads: STUDY["threads"]
        priority: len(STEPS) - list(STEPS).index(STEP)
        resources:
            gpu=GPUS,
            how=HOW[STEP],
        shell:
            "{EXECUTE} {input.nb} {params.folder}/notebook.ipynb {resources.how} -y {params.science:q} && touch {output}"
