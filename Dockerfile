# SPDX-License-Identifier: Apache-2.0
# msdet without GPU libraries, from the same files as any installation: docs/installation.md.
FROM python:3.11-slim AS build
# A compiler for PESQ. Debian keeps one version of each package, so that a pinned one soon is gone.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python -m venv /opt/msdet \
    && PIP_CONSTRAINT=constraints.txt /opt/msdet/bin/pip install --no-cache-dir \
    --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt '.[metrics,serve,export]'

FROM python:3.11-slim
COPY --from=build /opt/msdet /opt/msdet
ENV PATH=/opt/msdet/bin:$PATH
RUN useradd --create-home --uid 1000 msdet && mkdir /data && chown msdet /data
USER 1000
WORKDIR /data
ENTRYPOINT ["msdet"]
CMD ["--help"]
