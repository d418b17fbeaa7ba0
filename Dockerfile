FROM node:22-bookworm-slim AS base
WORKDIR /app

FROM base AS manifests
COPY package.json package-lock.json .npmrc ./
COPY models/package.json models/
COPY server/package.json server/

FROM manifests AS build
RUN --mount=type=cache,target=/root/.npm \
    npm ci --workspace models --workspace server --include-workspace-root
COPY tsconfig.base.json ./
COPY models models
COPY server server
RUN npx tsc -b models server
RUN mkdir /store && cp -r --parents models/*/[0-9]* /store && chmod -R a+rX /store

FROM manifests AS dependencies
RUN --mount=type=cache,target=/root/.npm \
    npm ci --workspace models --workspace server --omit=dev
# onnxruntime-node carries the libraries of every platform; the other ones are 240 MB.
RUN find node_modules/onnxruntime-node/bin -mindepth 3 -maxdepth 3 ! -path "*/linux/$(node -p process.arch)" -exec rm -r {} +
# A checkout under a strict umask has files that only its owner may read.
RUN chmod a+r package.json */package.json

FROM base
LABEL org.opencontainers.image.title="Elbo" \
      org.opencontainers.image.description="Variational autoencoders as a service: embeddings, synthetic samples and anomaly scores." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE ./
COPY --from=dependencies /app ./
COPY --from=build /app/models/dist models/dist
COPY --from=build /app/server/dist server/dist
# Apart from the code of @elbo/models, so that a store mounted in its place hides nothing else.
COPY --from=build /store/models /models
ENV NODE_ENV=production \
    ELBO_MODELS_DIR=/models
# The image's user `node`, as a number: Kubernetes' runAsNonRoot can't judge a name.
USER 1000:1000
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.ELBO_PORT || 8080}/health/ready`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "server/dist/main.js"]
