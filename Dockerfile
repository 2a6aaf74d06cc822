# The image of stats-gateway: docker build --tag stats-gateway .        (or: make image)
# Any slim Python that pyproject.toml allows; this is the one that the tests run on.
ARG PYTHON_IMAGE=python:3.11-slim
ARG PREFIX=/opt/stats-gateway

FROM ${PYTHON_IMAGE} AS build
ARG PREFIX
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# Dependencies first: they change less often than the gateway does. Only wheels, so that no compiler is needed.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv --without-pip "$PREFIX" \
    && python -m pip --python "$PREFIX/bin/python" install --require-hashes --no-deps --only-binary :all: \
       -r requirements.lock \
    && python -m pip install --require-hashes --no-deps --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && python -m pip --python "$PREFIX/bin/python" install --no-deps --no-index wheels/*.whl \
    && mkdir state

FROM ${PYTHON_IMAGE}
ARG PREFIX
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="stats-gateway" \
      org.opencontainers.image.description="A caching, coalescing, pacing reverse proxy in front of the figshare statistics service." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build ${PREFIX} ${PREFIX}
# The place for a registry file, where one is kept in a volume; nothing else is ever written but under /tmp.
COPY --from=build --chown=10001:10001 /src/state /var/lib/stats-gateway
ENV PATH="${PREFIX}/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATS_GATEWAY_HOST=0.0.0.0 \
    STATS_GATEWAY_REGISTRY=/var/lib/stats-gateway/tenants.toml
WORKDIR /var/lib/stats-gateway
# By number: Kubernetes cannot tell of a name that it is not root's.
USER 10001:10001
# The public listener alone. The admin listener stays on the loopback inside the container unless told otherwise.
EXPOSE 8080
# Readiness turns 503, answers close their connections, flights finish, then it ends.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 CMD ["stats-gateway", "health"]
ENTRYPOINT ["stats-gateway"]
CMD ["serve"]
