# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's GitLab, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from standins.gitlab import (
    control,
    deploy_tokens_api,
    deployments_api,
    environments_api,
    git_http,
    job_token_api,
    jobs_api,
    lint_api,
    oidc,
    pipelines_api,
    projects_api,
    protection_api,
    repository_api,
    runner_projects_api,
    runners_api,
    schedules_api,
    variables_api,
)
from standins.gitlab.errors import ApiError
from standins.gitlab.redact import Redactor
from standins.gitlab.settings import Settings
from standins.gitlab.state import State
from standins.gitlab.store import Store
from standins.gitlab.traffic import Faults, RequestLog, Traffic


def create_app(settings: Settings) -> FastAPI:
    """Return the application. Its state is read from and kept in ``settings.state_dir``."""
    store = Store(settings.state_dir)
    redactor = Redactor((settings.lab_secret, settings.admin_token))
    for job in store.jobs():
        redactor.learn(job.token)
        for variable in job.variables:
            if variable["masked"]:
                redactor.learn(variable["value"])
    for setting in (*store.project_settings.all(), *store.group_settings.all()):
        if setting.masked:
            redactor.learn(setting.value)
    log = RequestLog(settings.state_dir / "requests.jsonl")
    state = State(settings, store, redactor, Faults(), log)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        log.close()
        store.close()

    app = FastAPI(
        title="Lab GitLab", openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.state.lab = state
    app.router.redirect_slashes = False
    # projects_api after those with longer paths: a project's own may have slashes.
    for module in (
        runners_api, runner_projects_api, jobs_api, repository_api, lint_api, pipelines_api,
        schedules_api, variables_api, protection_api, environments_api, deployments_api,
        deploy_tokens_api, job_token_api, projects_api, oidc, control, git_http,
    ):  # fmt: skip
        app.include_router(module.router)
    app.include_router(pipelines_api.current)
    app.add_middleware(
        Traffic,
        faults=state.faults,
        log=log,
        redactor=redactor,
        body_limit=settings.request_log_body_limit,
        on_change=state.changes.tell,
    )

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> JSONResponse:
        return JSONResponse(error.body, status_code=error.status, headers=error.headers)

    @app.get("/users/sign_in")
    async def sign_in() -> HTMLResponse:
        return HTMLResponse("<html>Sign in</html>")

    @app.exception_handler(StarletteHTTPException)
    async def http_error(request: Request, error: StarletteHTTPException) -> Response:
        if error.status_code == 404 and not request.url.path.startswith("/api/"):
            # application_controller.rb, route_not_found: nobody is logged in.
            return RedirectResponse("/users/sign_in", 302)
        words = "404 Not Found" if error.status_code == 404 else str(error.detail)
        key = "error" if error.status_code in (404, 405) else "message"
        return JSONResponse({key: words}, status_code=error.status_code, headers=error.headers)

    return app
