FROM python:3.12-slim AS build
WORKDIR /app
COPY requirements.txt .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.txt

FROM python:3.12-slim
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 DATA_DIR=/data \
    # Large messages: without these glibc gives every big buffer back to the kernel and asks again.
    MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=1073741824
RUN useradd --system --home /app healthvault && install -d -o healthvault /data
WORKDIR /app
COPY --from=build /venv /venv
COPY . .
# Throw-away keys: the build only names static files by their content.
RUN HEALTHVAULT_ENVIRONMENT=production PUBLIC_URL=https://build.invalid DIRECT_DOMAINS=build.invalid EMAIL_URL=smtp://build.invalid SECRET_KEY=build \
    VAULT_KEYS="$(python -c 'from healthvault.vault.keyring import generate_key; print(generate_key())')" \
    DATABASE_URL=sqlite:////tmp/none python manage.py collectstatic --noinput
USER healthvault
VOLUME /data
CMD ["gunicorn", "healthvault.wsgi", "--bind", "0.0.0.0:8000", "--workers", "2", "--threads", "4"]
