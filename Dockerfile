# sirrd in a container: one process, a fixed user without rights, a read-only root, everything it keeps under /data.
#
# It listens on 0.0.0.0 and therefore refuses to start (exit 3) without SIRR_MASTER_API_KEY or SIRR_MASTER_API_KEY_FILE;
# compose.yaml shows how the key is given.

FROM python:3.13-slim AS build
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY locks/run.lock locks/build.lock locks/
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/sirrd
RUN --mount=type=cache,target=/root/.cache/pip \
    /opt/build/bin/pip install --quiet --require-hashes --requirement locks/build.lock && \
    /opt/build/bin/pip --python /opt/sirrd/bin/python3 install --quiet --no-compile --require-hashes --requirement locks/run.lock
COPY pyproject.toml README.md LICENSE sirrd.toml.example ./
COPY deploy deploy
COPY docs docs
COPY sirrd sirrd
RUN /opt/build/bin/python3 -m hatchling build --target wheel --directory /wheel && \
    /opt/build/bin/pip --python /opt/sirrd/bin/python3 install --quiet --no-compile --no-deps --no-index /wheel/*.whl
# The base image ships its standard library without bytecode, and a read-only root can keep none. One import fills a
# folder with the bytecode of exactly what the daemon and its health check use, the standard library included.
RUN PYTHONPYCACHEPREFIX=/opt/sirrd/bytecode /opt/sirrd/bin/python3 -P -c "import sirrd.cli.program, sirrd.server.process"

FROM python:3.13-slim
COPY --from=build /opt/sirrd /opt/sirrd
RUN install --directory --owner=10001 --group=10001 --mode=0700 /data
ENV PATH=/opt/sirrd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/opt/sirrd/bytecode \
    SIRR_HOST=0.0.0.0 \
    SIRR_DATA_DIR=/data
USER 10001:10001
VOLUME /data
EXPOSE 39999
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["sirrd", "health"]
ENTRYPOINT ["sirrd"]
CMD ["serve"]
