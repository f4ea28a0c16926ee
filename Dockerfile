# Heed in a container: Debian's Python, a CPU build of torch, no root, and nothing to write but /data.
#
#   docker build -t heed .
#   docker build -t heed --build-arg MODEL=qwen2.5-0.5b .    # with a model inside: starts without a network
#   docker build -t heed --build-arg MODEL=models/mine .     # the same, of a copy that lies in ./models
#   docker build -t heed --build-arg LOCAL=no .              # without torch: the phrase book, or a server
#
# docs/shipping.md tells the rest.
ARG DEBIAN=bookworm

FROM debian:${DEBIAN}-slim AS build
ENV DEBIAN_FRONTEND=noninteractive PIP_NO_CACHE_DIR=1
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates make python3 python3-venv
WORKDIR /opt/heed
ARG LOCAL=yes
COPY Makefile pyproject.toml constraints.txt ./
# The libraries first: they change more seldom than Heed.
RUN test "$LOCAL" = no || make VENV=/opt/heed/.venv /opt/heed/.venv/.torch
RUN test "$LOCAL" != no || { make VENV=/opt/heed/.venv /opt/heed/.venv/.python && touch /opt/heed/.venv/.torch; }
RUN .venv/bin/python -m pip install -q --require-hashes --no-deps -r constraints.txt
COPY README.md LICENSE NOTICE ./
COPY adapters adapters
COPY bot bot
COPY core core
COPY migrations migrations
RUN make VENV=/opt/heed/.venv setup && .venv/bin/python -m compileall -q adapters bot core migrations
ARG MODEL=
COPY LICENSE model[s] models/
# A folder of the build context is imported, any other name is fetched; /opt/heed/model leads to it.
RUN mkdir baked && cd baked && if test -z "$MODEL"; then exit 0; elif test -d "../$MODEL"; then ../.venv/bin/heed model import "../$MODEL"; else ../.venv/bin/heed model pull "$MODEL"; fi && ln -s "$(dirname "$(find "$PWD" -name config.json)")" ../model
RUN rm -rf models

FROM debian:${DEBIAN}-slim
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates python3 && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin heed && install -d -o heed -g heed -m 0700 /data
COPY --from=build /opt/heed /opt/heed
ARG MODEL=
ENV PATH=/opt/heed/.venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENV HEED_DATABASE__URL=sqlite:////data/heed.db HEED_HTTP__HOST=0.0.0.0 HEED_HTTP__PORT=8080
ENV HEED_LOG__FORMAT=json HEED_MODEL__NAME=${MODEL:+/opt/heed/model}
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/livez', timeout=4)"]
ENTRYPOINT ["heed"]
CMD ["run"]
