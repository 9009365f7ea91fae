# The server's image. Any base with Python >= 3.11, its venv module and glibc does: --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# In a folder of its own, so that one COPY takes all of it and nothing else. The venv's links are to the same base.
RUN python -m venv /opt/maru
COPY requirements/engines.txt /build/
# Wheels only: an image that needs a compiler is one that was tested nowhere.
RUN /opt/maru/bin/python -m pip install --no-cache-dir --disable-pip-version-check --only-binary :all: \
        --require-hashes --requirement /build/engines.txt \
    && /opt/maru/bin/python -m pip uninstall --quiet --yes setuptools pip
COPY server /opt/maru/app/server
# The bytecode is made here, since nothing can be written later; unchecked, since no source changes later.
RUN /opt/maru/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/maru/lib /opt/maru/app

FROM ${PYTHON_IMAGE}
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Maru" \
      org.opencontainers.image.description="A real-time messaging server for Socket.IO clients" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /opt/maru /opt/maru
# The only place that is written to, and only by the SQLite log: a volume where that log is used.
RUN mkdir /data && chown 10001:10001 /data
ENV PATH=/opt/maru/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MARU_INTERNAL_HOST=0.0.0.0 \
    MARU_SQLITE_PATH=/data/maru.db
WORKDIR /opt/maru/app
VOLUME /data
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
# 8080 for clients, 9090 for probes: keep the second one inside.
EXPOSE 8080 9090
# The server tells its clients to move, then ends (MARU_DRAIN_TIMEOUT): give `docker stop` more than the default 10 s.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["python", "-m", "server", "health"]
ENTRYPOINT ["python", "-m", "server"]
