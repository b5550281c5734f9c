# One image for every role: the command says which. `docker compose build` makes it.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
# The image's own toolchain is the pinned one; rust-toolchain.toml would also ask for components that a build needs not.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && install -D target/release/ticklake /out/ticklake

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/ticklake --create-home ticklake
COPY --from=build /out/ticklake /usr/local/bin/ticklake
USER ticklake
WORKDIR /var/lib/ticklake
# `ticklake` is process 1: SIGTERM reaches it, and it drains.
STOPSIGNAL SIGTERM
ENTRYPOINT ["ticklake"]
