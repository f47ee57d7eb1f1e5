# docker build -t midstream . && docker run --rm -p 127.0.0.1:8080:8080 midstream
# What it is for, its volumes and its ports: docs/deploy.md. `just release-check` runs the commands below in a plain environment.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY addons addons
COPY recordings recordings
RUN pip wheel --no-cache-dir --no-deps --wheel-dir dist .

FROM python:3.13-slim
RUN useradd --create-home --uid 10001 midstream
COPY --from=build /src/dist/ /tmp/dist/
RUN pip install --no-cache-dir --compile /tmp/dist/*.whl
# a number, so that Kubernetes can see that it is not root; the folders are made by it, so that volumes over them are its own
USER 10001
RUN mkdir -p /home/midstream/.midstream /home/midstream/.mitmproxy
VOLUME ["/home/midstream/.midstream", "/home/midstream/.mitmproxy"]
EXPOSE 8080 8081
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "from urllib.request import build_opener, ProxyHandler; build_opener(ProxyHandler({})).open('http://127.0.0.1:8081/healthz', timeout=4)"]
ENTRYPOINT ["midstream", "run", "--listen-host", "0.0.0.0", "--mode", "regular", "--mode", "reverse:http://midstream.internal@8081"]
