"""The peer for HTTP: FastAPI's hello in one uvicorn process. `uvicorn fastapi_hello:app --port PORT`"""

from fastapi import FastAPI

app = FastAPI()


@app.get("/hello")
async def hello(name: str = "world"):
    return {"message": f"Hello, {name}!"}
