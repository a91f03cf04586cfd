# The order of the notebooks as a graph. A study file (studies/NAME.yaml) says what is run:
#     snakemake --configfile studies/demo.yaml --cores 2
import json
import os
import re
import shlex
import sys
from pathlib import Path

from dfxlib.study import settings as study_file
from dfxlib.system.files import code_hash, hold
from dfxlib.names import CLASSES

try:
    STUDY = study_file.check_study(config)
except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
    sys.exit(f"study: {error}")

PY = shlex.quote(sys.executable)
RUN = f"runs/{STUDY['study']}"
BACKBONES = list(study_file.backbone_folders(STUDY))
# A fixed number of threads: two jobs must not share a core, and sums must be the same everywhere.
ENV = f"OMP_NUM_THREADS={STUDY['threads']} MKL_NUM_THREADS={STUDY['threads']}"
# Of hours on a GPU, and in a job of SLURM, which has a log of its own, a line an epoch; else a line a notebook.
PROGRESS = "--progress" if STUDY["gpus_per_job"] or "SLURM_JOB_ID" in os.environ else ""
EXECUTE = f"{ENV} {PY} -m dfxlib execute {PROGRESS}"


def science(step):
    """The parameters of a notebook as text: the only thing besides code that makes it run again."""
    return lambda wildcards: json.dumps(study_file.science(STUDY, step, **dict(wildcards)))


def place(step):
    """Where a run happens: in the command but not in `params`, so that a change of device reruns nothing."""
    return shlex.quote(json.dumps(study_file.place(STUDY, step)))


PLACE = {step: place(step) for step in ("manifest", "base", "complete", "robustness", "generalization", "detection")}


def data_of_the_study(wildcards):
    """The manifest's hash: work is repeated when the data are others, not when they were only read again.

    Every step that reads the manifest names it, or Snakemake would repeat what comes after a step
    that turned out to be current.
    """
    checkpoints.manifest.get()
    return f"{RUN}/manifest/manifest.csv.sha256"


def base_models(wildcards):
    """The base models that a variant of the complete model reads: its own, or the study's."""
    own = study_file.base_variant(STUDY, wildcards.variant)
    root = f"{RUN}/variant/{own}" if own else f"{RUN}/base"
    return expand(f"{root}/{wildcards.backbone}/{{nature}}/seed{wildcards.seed}/.stamp", nature=CLASSES)


# A variant is a backbone that learns the three natures at once, or a complete model made otherwise.
THREE_WAY = [name for name in STUDY["variants"] if study_file.is_three_way(STUDY, name)]
COMPLETE = [name for name in STUDY["variants"] if name not in THREE_WAY]


wildcard_constraints:
    variant=r"\w[\w.+-]*",
    backbone="|".join(map(re.escape, BACKBONES)),
    nature="|".join(CLASSES),
    seed=r"\d+",


localrules:
    all,


onstart:
    # Snakemake's own lock outlives a kill, and lifting it would not ask whether somebody is at work. The profiles
    # switch it off; this one ends with its process. Orphans of a killed call are waited for, run by run.
    if hold(Path(f"runs/.{STUDY['study']}.lock")) is None:
        sys.exit(f"study {STUDY['study']}: another call is at work on it in this folder; wait for it to end")


# Snakemake deletes a job's outputs before it starts it. Its own mark is therefore not the `.done` that vouches for a
# result, but a stamp beside it: where a run fails, the earlier result stays finished.
rule all:
    input:
        f"{RUN}/report/.stamp",
    default_target: True


checkpoint manifest:
    input:
        nb=ancient("notebooks/00_prepare_dataset.ipynb"),
    output:
        f"{RUN}/manifest/.stamp",
    params:
        science=science("manifest"),
        # Another data root means other data, so it counts as science in this one rule.
        data=STUDY["data_root"],
        code=code_hash("notebooks/00_prepare_dataset.ipynb"),
    threads: STUDY["threads"]
    shell:
        "{EXECUTE} {input.nb} {RUN}/manifest/notebook.ipynb -y {PLACE[manifest]} -y {params.science:q} && touch {output}"


rule base:
    input:
        nb=ancient("notebooks/10_train_base_model.ipynb"),
        manifest=data_of_the_study,
    output:
        f"{RUN}/base/{{backbone}}/{{nature}}/seed{{seed}}/.stamp",
    params:
        science=science("base"),
        code=code_hash("notebooks/10_train_base_model.ipynb"),
    threads: STUDY["threads"]
    resources:
        gpu=STUDY["gpus_per_job"],
    shell:
        "{EXECUTE} {input.nb} {RUN}/base/{wildcards.backbone}/{wildcards.nature}/seed{wildcards.seed}/notebook.ipynb "
        "--gpus {resources.gpu} -y {PLACE[base]} -y {params.science:q} && touch {output}"


rule complete:
    input:
        nb=ancient("notebooks/20_train_complete_model.ipynb"),
        manifest=data_of_the_study,
        base=expand(f"{RUN}/base/{{{{backbone}}}}/{{nature}}/seed{{{{seed}}}}/.stamp", nature=CLASSES),
    output:
        f"{RUN}/complete/{{backbone}}/seed{{seed}}/.stamp",
    params:
        science=science("complete"),
        code=code_hash("notebooks/20_train_complete_model.ipynb"),
    threads: STUDY["threads"]
    resources:
        gpu=STUDY["gpus_per_job"],
    shell:
        "{EXECUTE} {input.nb} {RUN}/complete/{wildcards.backbone}/seed{wildcards.seed}/notebook.ipynb "
        "--gpus {resources.gpu} -y {PLACE[complete]} -y {params.science:q} && touch {output}"


rule variant_base:
    input:
        nb=ancient("notebooks/10_train_base_model.ipynb"),
        manifest=data_of_the_study,
    output:
        f"{RUN}/variant/{{variant}}/{{backbone}}/{{nature}}/seed{{seed}}/.stamp",
    params:
        science=science("base"),
        code=code_hash("notebooks/10_train_base_model.ipynb"),
        folder=f"{RUN}/variant/{{variant}}/{{backbone}}/{{nature}}/seed{{seed}}",
    threads: STUDY["threads"]
    resources:
        gpu=STUDY["gpus_per_job"],
    shell:
        "{EXECUTE} {input.nb} {params.folder}/notebook.ipynb --gpus {resources.gpu} -y {PLACE[base]} -y {params.science:q} && touch {output}"


rule variant_three_way:
    input:
        nb=ancient("notebooks/10_train_base_model.ipynb"),
        manifest=data_of_the_study,
    output:
        f"{RUN}/variant/{{variant}}/{{backbone}}/seed{{seed}}/.stamp",
    wildcard_constraints:
        variant="|".join(map(re.escape, THREE_WAY)) or "-",
    params:
        science=science("base"),
        code=code_hash("notebooks/10_train_base_model.ipynb"),
        folder=f"{RUN}/variant/{{variant}}/{{backbone}}/seed{{seed}}",
    threads: STUDY["threads"]
    resources:
        gpu=STUDY["gpus_per_job"],
    shell:
        "{EXECUTE} {input.nb} {params.folder}/notebook.ipynb --gpus {resources.gpu} -y {PLACE[base]} -y {params.science:q} && touch {output}"


rule variant_complete:
    input:
        nb=ancient("notebooks/20_train_complete_model.ipynb"),
        manifest=data_of_the_study,
        base=base_models,
    output:
        f"{RUN}/variant/{{variant}}/{{backbone}}/seed{{seed}}/.stamp",
    wildcard_constraints:
        variant="|".join(map(re.escape, COMPLETE)) or "-",
    params:
        science=science("complete"),
        code=code_hash("notebooks/20_train_complete_model.ipynb"),
        folder=f"{RUN}/variant/{{variant}}/{{backbone}}/seed{{seed}}",
    threads: STUDY["threads"]
    resources:
        gpu=STUDY["gpus_per_job"],
    shell:
        "{EXECUTE} {input.nb} {params.folder}/notebook.ipynb --gpus {resources.gpu} -y {PLACE[complete]} -y {params.science:q} && touch {output}"


rule robustness:
    input:
        nb=ancient("notebooks/30_jpeg_robustness.ipynb"),
        manifest=data_of_the_study,
        complete=f"{RUN}/complete/{{backbone}}/seed{{seed}}/.stamp",
    output:
        f"{RUN}/robustness/{{backbone}}/seed{{seed}}/.stamp",
    params:
        science=science("robustness"),
        code=code_hash("notebooks/30_jpeg_robustness.ipynb"),
    threads: STUDY["threads"]
    resources:
        gpu=STUDY["gpus_per_job"],
    shell:
        "{EXECUTE} {input.nb} {RUN}/robustness/{wildcards.backbone}/seed{wildcards.seed}/notebook.ipynb "
        "--gpus {resources.gpu} -y {PLACE[robustness]} -y {params.science:q} && touch {output}"


rule generalization:
    input:
        nb=ancient("notebooks/40_generalization.ipynb"),
        manifest=data_of_the_study,
        complete=f"{RUN}/complete/{{backbone}}/seed{{seed}}/.stamp",
    output:
        f"{RUN}/generalization/{{backbone}}/seed{{seed}}/.stamp",
    params:
        science=science("generalization"),
        code=code_hash("notebooks/40_generalization.ipynb"),
    threads: STUDY["threads"]
    resources:
        gpu=STUDY["gpus_per_job"],
    shell:
        "{EXECUTE} {input.nb} {RUN}/generalization/{wildcards.backbone}/seed{wildcards.seed}/notebook.ipynb "
        "--gpus {resources.gpu} -y {PLACE[generalization]} -y {params.science:q} && touch {output}"


rule detection:
    input:
        nb=ancient("notebooks/60_detect_images.ipynb"),
        manifest=data_of_the_study,
        complete=f"{RUN}/complete/{{backbone}}/seed{{seed}}/.stamp",
    output:
        f"{RUN}/detection/{{backbone}}/seed{{seed}}/.stamp",
    params:
        science=science("detection"),
        code=code_hash("notebooks/60_detect_images.ipynb"),
    threads: STUDY["threads"]
    resources:
        gpu=STUDY["gpus_per_job"],
    shell:
        "{EXECUTE} {input.nb} {RUN}/detection/{wildcards.backbone}/seed{wildcards.seed}/notebook.ipynb "
        "--gpus {resources.gpu} -y {PLACE[detection]} -y {params.science:q} && touch {output}"


rule baselines:
    input:
        nb=ancient("notebooks/50_baselines_and_ablations.ipynb"),
        manifest=data_of_the_study,
        runs=expand(
            f"{RUN}/{{model}}/{{backbone}}/seed{{seed}}/.stamp",
            model=["complete", *(f"variant/{variant}" for variant in STUDY["variants"])],
            backbone=BACKBONES,
            seed=STUDY["seeds"],
        ),
    output:
        f"{RUN}/baselines/.stamp",
    params:
        science=science("baselines"),
        code=code_hash("notebooks/50_baselines_and_ablations.ipynb"),
    threads: STUDY["threads"]
    shell:
        "{EXECUTE} {input.nb} {RUN}/baselines/notebook.ipynb -p run_root {RUN} -y {params.science:q} && touch {output}"


rule report:
    input:
        nb=ancient("notebooks/90_report.ipynb"),
        manifest=data_of_the_study,
        baselines=f"{RUN}/baselines/.stamp",
        runs=expand(
            f"{RUN}/{{step}}/{{backbone}}/seed{{seed}}/.stamp",
            step=["robustness", "generalization", "detection"],
            backbone=BACKBONES,
            seed=STUDY["seeds"],
        ),
    output:
        f"{RUN}/report/.stamp",
    params:
        science=science("report"),
        code=code_hash("notebooks/90_report.ipynb"),
    threads: STUDY["threads"]
    shell:
        "{EXECUTE} {input.nb} {RUN}/report/notebook.ipynb --page index.html "
        "-p run_root {RUN} -y {params.science:q} && touch {output}"
