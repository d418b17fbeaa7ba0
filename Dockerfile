# Targets: `server` (the CPU service), `server-cuda` (the same on an NVIDIA GPU), `training` (the `elbo` command).
ARG NODE_IMAGE=node:22-bookworm-slim

FROM ${NODE_IMAGE} AS base
WORKDIR /app

FROM base AS manifests
COPY package.json package-lock.json .npmrc ./
COPY models/package.json models/
COPY server/package.json server/
COPY training/package.json training/

# ---- compiled code, and the store of shipped models ----
FROM manifests AS build
RUN --mount=type=cache,target=/root/.npm \
    npm ci --workspace models --workspace server --include-workspace-root
COPY tsconfig.base.json ./
COPY models models
COPY server server
RUN npx tsc -b models server
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
RUN --mount=type=cache,target=/root/.npm \
    npm ci --workspace models --workspace training --omit=dev
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

FROM minimal AS server
LABEL org.opencontainers.image.title="Elbo" \
      org.opencontainers.image.description="Variational autoencoders as a service: embeddings, synthetic samples and anomaly scores." \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
COPY LICENSE ./
COPY --from=server-dependencies /app ./
COPY --from=build /app/models/dist models/dist
COPY --from=build /app/server/dist server/dist
# Apart from the code of @elbo/models, so that a store mounted in its place hides nothing else. A new volume takes the owner over.
COPY --from=build --chown=1000:1000 /store/models /models
ENV ELBO_MODELS_DIR=/models
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --start-interval=1s --retries=3 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.ELBO_PORT || 8080}/health/ready`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# As process 1, Node.js would ignore SIGTERM until the server handles it.
ENTRYPOINT ["tini", "--"]
CMD ["node", "server/dist/main.js"]

FROM minimal AS training
LABEL org.opencontainers.image.title="Elbo training" \
      org.opencontainers.image.description="Trains variational autoencoders and exports them to ONNX." \
      org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /app
COPY LICENSE ./
COPY --from=training-dependencies /app ./
COPY --from=build-training /app/models/dist models/dist
COPY --from=build-training /app/training/bin training/bin
COPY --from=build-training /app/training/assets training/assets
COPY --from=build-training /app/training/presets training/presets
COPY --from=build-training /app/training/dist training/dist
# The same store as the service's, so that either of them may be the one that a new volume is filled from.
COPY --from=build --chown=1000:1000 /store/models /models
COPY --from=build --chown=1000:1000 /store/classifiers /classifiers
# Here `models` and `data`, where `elbo` looks by default, are the two volumes.
WORKDIR /
ENTRYPOINT ["tini", "--", "node", "/app/training/bin/elbo.js"]
CMD ["--help"]
