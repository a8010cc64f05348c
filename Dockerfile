# The service in a container. Build it from the checkout, and give it keys, without which it does not
# listen beyond its own machine:
#
#   docker build -t onnx-workbench .
#   docker run -p 127.0.0.1:3000:3000 -e API_KEYS=me:$(openssl rand -hex 24) -v models:/srv/models onnx-workbench
#
# docker-compose.yml has it together with metrics and their pictures; deploy/README.md tells more.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY workbench ./workbench
COPY models ./models
COPY data ./data
RUN python -m venv /opt/workbench \
 && /opt/workbench/bin/pip install --no-cache-dir --disable-pip-version-check '.[serve,jobs]'

FROM python:${PYTHON}-slim-bookworm
RUN groupadd --system --gid 10001 workbench \
 && useradd --system --uid 10001 --gid workbench --home-dir /srv --no-create-home --shell /usr/sbin/nologin workbench \
 && install -d -o workbench -g workbench /srv/models /srv/models/metadata /srv/data /srv/data/labels /srv/cache
COPY --from=build /opt/workbench /opt/workbench
COPY deploy/healthcheck.py /opt/workbench/healthcheck.py
ENV PATH=/opt/workbench/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MODEL_DIR=/srv/models \
    DATA_DIR=/srv/data \
    XDG_CACHE_HOME=/srv/cache \
    WORKBENCH_HOST=0.0.0.0 \
    PORT=3000 \
    LOG_FORMAT=json
USER 10001:10001
WORKDIR /srv
VOLUME ["/srv/models", "/srv/data", "/srv/cache"]
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/workbench/healthcheck.py"]
ENTRYPOINT ["workbench"]
CMD ["serve"]
