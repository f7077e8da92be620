FROM python:3.13-slim AS build
WORKDIR /app
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH
COPY requirements.txt ./
# Serving needs no pip, no tests and no translations, and the documentation no ReDoc.
RUN pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements.txt && \
    pip uninstall --yes pip && \
    find /venv '(' -name tests -o -name '*.[mp]o' ')' -prune -exec rm -r '{}' +
COPY manage.py ./
COPY fizzbuzz fizzbuzz/
COPY fizzbuzz_site fizzbuzz_site/
COPY static static/
COPY templates templates/
# The settings require both, but collectstatic uses neither. What it has copied is served from staticfiles/ alone. Bytecode can't be
# written later: the file system is read-only.
RUN DATABASE_URL=postgresql:///unused SECRET_KEY=unused-but-as-long-as-a-secret-key python manage.py collectstatic --noinput --ignore=redoc && \
    find /venv -type d -name static -prune -exec rm -r '{}' + && \
    python -m compileall -q .

FROM python:3.13-slim
WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /app ./
ARG REVISION=unknown
ENV PATH=/venv/bin:$PATH HOST=0.0.0.0 REVISION=$REVISION
# A number, so that orchestrators can verify that it isn't root. It can only write to /tmp.
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --start-period=30s --timeout=5s CMD ["python", "-c", "import http.client, os, sys; web = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 8080), timeout=4); web.request('GET', '/health/live'); sys.exit(web.getresponse().status != 200)"]
# It replaces itself by gunicorn (exec), so gunicorn is process 1 and gets the signals.
CMD ["python", "manage.py", "serve"]
