# The service alone: Redis comes from elsewhere (MEMORY_REDIS_URL), so no embedded one is inside.
# Python 3.11 is what the tests run on.
FROM python:3.11-slim-trixie AS environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements/service.txt /tmp/service.txt
# Wheels only: nothing of a package runs while the image is built, and no compiler is needed.
RUN /opt/venv/bin/python -m pip install --require-hashes --only-binary :all: -r /tmp/service.txt \
    && /opt/venv/bin/python -m pip uninstall --yes setuptools pip

FROM python:3.11-slim-trixie AS loadtest
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
COPY requirements/loadtest.txt /tmp/loadtest.txt
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --require-hashes -r /tmp/loadtest.txt \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin loadtest
WORKDIR /srv
COPY bench bench
COPY demo/client_key.py demo/
COPY loadtest loadtest
USER 10001
ENTRYPOINT ["/opt/venv/bin/locust", "-f", "loadtest"]

FROM python:3.11-slim-trixie AS service
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin memory
COPY --from=environment /opt/venv /opt/venv
WORKDIR /srv
COPY app app
# The console shows them.
COPY docs/runbooks docs/runbooks
# Compiled here: the user cannot write beside the sources, and the container may be read-only. A date in whole
# seconds survives as it is in the image, and what numba compiles counts for that date and this kind of processor.
RUN touch -d 2000-01-01 app/resident/kernel.py app/memory/estimates/compiled.py \
    && NUMBA_CACHE_DIR=/srv/compiled /opt/venv/bin/python -B -c "import app.resident.kernel, app.memory.estimates.compiled" \
    && /opt/venv/bin/python -m compileall -q app \
    && printf '#!/bin/sh\nexec python -m app "$@"\n' > memory && chmod 755 memory
# HOME: any user id may be given to the container, and settings ask for the home folder.
# NUMBA_CACHE_DIR: the service copies /srv/compiled to it. It must be writable: a tmpfs, an emptyDir.
# MEMORY_HOST: in a container 127.0.0.1 is out of reach; who may come in is decided by what is published.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/tmp/numba \
    MEMORY_HOST=0.0.0.0 \
    MEMORY_PORT=8000
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", \
    "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['MEMORY_PORT']), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
# Exec form: SIGTERM reaches the service, which answers what it was asked and ends.
STOPSIGNAL SIGTERM
CMD ["python", "-m", "app", "serve"]
