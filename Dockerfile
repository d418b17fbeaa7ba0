# Targets: `server` (the CPU service), `server-cuda` (the same on an NVIDIA GPU), `training` (the `elbo` command).
ARG NODE_IMAGE=node:22-bookworm-slim

FROM ${NODE_IMAGE} AS base
WORKDIR /app

FROM base AS manifests
COPY package.json package-lock.json .npmrc ./
COPY models/package.json models/
COPY server/package.json server/
COPY training/package.json training/
COPY openapi/package.json openapi/
COPY explorer/package.json explorer/

# ---- compiled code, and the store of shipped models ----
FROM manifests AS build
RUN --mount=type=cache,target=/root/.npm \
    npm ci --workspace models --workspace server --workspace openapi --workspace explorer --include-workspace-root
COPY tsconfig.base.json ./
COPY models models
COPY server server
COPY openapi openapi
COPY explorer explorer
RUN npx tsc -b models server openapi explorer && npm run build --workspace explorer
RUN mkdir -p /store/classifiers && cp -r --parents models/*/[0-9]* /store && chmod -R a+rX /store

FROM manifests AS build-training
RUN --mount=type=cache,target=/root/.npm \
    npm ci --workspace models --workspace training --include-workspace-root
COPY tsconfig.base.json ./
COPY models models
COPY training training
RUN npx tsc -b models training

# ---- what runs, without what only compiles: other platforms' libraries, source maps, type declarations, documentation ----
FROM manifests AS server-dependencies
RUN --mount=type=cache,target=/root/.npm \
    npm ci --workspace models --workspace server --omit=dev
COPY deploy/docker/prune-dependencies.sh /
RUN sh /prune-dependencies.sh

FROM manifests AS training-dependencies
# With development dependencies: tfjs, a peer that packages of Elbo leave to their users, is one; the others are types.
RUN --mount=type=cache,target=/root/.npm \
    npm ci --workspace models --workspace training
# For `elbo train --engine tfjs`; where TensorFlow's host is out of reach, that engine computes in plain JavaScript.
COPY training/scripts training/scripts
RUN node training/scripts/setup-tfjs.mjs || true
COPY deploy/docker/prune-dependencies.sh /
RUN sh /prune-dependencies.sh

# ---- a root file system of Node.js, tini and the C and C++ libraries: no shell, no package manager ----
FROM base AS root
RUN apt-get update && apt-get install -y --no-install-recommends tini
COPY deploy/docker/make-root.sh /
RUN sh /make-root.sh /root-file-system

FROM scratch AS minimal
COPY --from=root /root-file-system /
ENV PATH=/usr/local/bin \
    NODE_ENV=production
# The image's user `node`, as a number: Kubernetes' runAsNonRoot can't judge a name.
USER 1000:1000

# ---- the service ----
FROM scratch AS service-files
COPY LICENSE /app/
COPY --from=server-dependencies /app /app
COPY --from=build /app/models/dist /app/models/dist
COPY --from=build /app/server/dist /app/server/dist
COPY --from=build /app/server/assets /app/server/assets
# Apart from the code of @elbo/models, so that a store mounted in its place hides nothing else. A new volume takes the owner over.
COPY --from=build --chown=1000:1000 /store/models /models

FROM minimal AS server
LABEL org.opencontainers.image.title="Elbo" \
      org.opencontainers.image.description="Variational autoencoders as a service: embeddings, synthetic samples and anomaly scores." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=service-files / /
WORKDIR /app
ENV ELBO_MODELS_DIR=/models
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["node", "server/dist/healthcheck.js"]
# As process 1, Node.js would ignore SIGTERM until the server handles it.
ENTRYPOINT ["tini", "--"]
CMD ["node", "server/dist/main.js"]

# ---- the service on an NVIDIA GPU: CUDA 13 is what ONNX Runtime's provider is built for; it needs driver 580 or newer ----
FROM --platform=linux/amd64 nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04 AS server-cuda
LABEL org.opencontainers.image.title="Elbo for CUDA" \
      org.opencontainers.image.description="Variational autoencoders as a service, on an NVIDIA GPU." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=root /root-file-system/usr/local/bin /usr/local/bin
COPY --from=service-files / /
WORKDIR /app
# By ONNX Runtime's own script; the build ends where a library is missing.
COPY server/scripts/install-cuda-provider.mjs server/scripts/
RUN node server/scripts/install-cuda-provider.mjs
# `cuda`, and not `auto`: a container that was given no GPU says so and ends.
ENV NODE_ENV=production \
    ELBO_MODELS_DIR=/models \
    ELBO_PROVIDER=cuda \
    CUDA_CACHE_PATH=/tmp/cuda
USER 1000:1000
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --start-interval=1s --retries=3 \
    CMD ["node", "server/dist/healthcheck.js"]
ENTRYPOINT ["tini", "--"]
CMD ["node", "server/dist/main.js"]

# ---- the `elbo` command ----
FROM minimal AS training
LABEL org.opencontainers.image.title="Elbo training" \
      org.opencontainers.image.description="Trains variational autoencoders and exports them to ONNX." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /app/
COPY --from=training-dependencies /app /app
COPY --from=build-training /app/models/dist /app/models/dist
COPY --from=build-training /app/training/bin /app/training/bin
COPY --from=build-training /app/training/assets /app/training/assets
COPY --from=build-training /app/training/presets /app/training/presets
COPY --from=build-training /app/training/dist /app/training/dist
# The same store as the service's, so that either of them may be the one that a new volume is filled from.
COPY --from=build --chown=1000:1000 /store /
# Here `models` and `data`, where `elbo` looks by default, are the two volumes.
WORKDIR /
ENTRYPOINT ["tini", "--", "node", "/app/training/bin/elbo.js"]
CMD ["--help"]
