# One image for every service; the command says which. Built in two steps so that no compiler or cache stays in it.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml requirements-runtime.lock README.md LICENSE ./
COPY services services
COPY gen gen
COPY clients clients
# What runs in production, exactly as its lock has it, hashes checked; then our own package, which brings no others.
RUN python -m venv /opt/turnpike \
 && /opt/turnpike/bin/pip install --no-cache-dir --require-hashes -r requirements-runtime.lock \
 && /opt/turnpike/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/turnpike --create-home turnpike
COPY --from=build /opt/turnpike /opt/turnpike
ENV PATH=/opt/turnpike/bin:$PATH PYTHONUNBUFFERED=1 TURNPIKE_STATE_DIR=/var/lib/turnpike
USER turnpike
WORKDIR /var/lib/turnpike
EXPOSE 50051-50054 9461-9464
ENTRYPOINT ["python", "-m"]
CMD ["services.router"]
