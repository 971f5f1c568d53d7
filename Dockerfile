# One image for every node of the cluster: Ray's head and workers, the driver, and the MLflow server.
FROM python:3.11.13-slim-bookworm

# cpu: torch without CUDA. cuda: PyPI's torch, several times the size, which also runs on a CPU.
ARG ACCELERATOR=cpu

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/app \
    HOME=/tmp

RUN groupadd --gid 10001 study \
    && useradd --uid 10001 --gid study --no-create-home --home-dir /tmp study \
    && install -d -o study -g study /srv/study /srv/study/runs /srv/study/data /mlartifacts

# From what changes seldom and is large to what changes often: torch, the other dependencies, the code.
WORKDIR /app
COPY deploy/constraints.txt ./
RUN if [ "$ACCELERATOR" = cpu ]; then \
        sed -E 's/^(torch|torchvision)==.*/&+cpu/' -i constraints.txt; \
        export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu; \
    fi \
    && pip install --no-cache-dir --constraint constraints.txt torch torchvision
COPY pyproject.toml deploy/requirements.py ./
RUN python requirements.py pyproject.toml cluster > requirements.txt \
    && pip install --no-cache-dir --constraint constraints.txt --requirement requirements.txt

COPY deploy/ray-node.sh deploy/
COPY analysis analysis
COPY search_spaces search_spaces
COPY study study
RUN python -m compileall -q .

ARG GIT_COMMIT=""
ENV STUDY_GIT_COMMIT=$GIT_COMMIT

# Studies lie in ./runs and data sets in ./data, the defaults of every command.
WORKDIR /srv/study
USER 10001:10001
CMD ["python", "-m", "study.run", "--list"]
