"""An object with Instructor: `python agent_instructor.py http://localhost:8000/v1 MODEL`.

Its own environment, as in `requirements-instructor.txt`: it wants an older `jiter` than the others.
"""

from __future__ import annotations

import instructor
from area_tool import Unit, convert_area
from openai import OpenAI
from pydantic import BaseModel
from served_model import served_model

url, name = served_model()


class ConvertArea(BaseModel):
    """넓이의 단위를 바꾼다."""

    value: float
    from_unit: Unit
    to_unit: Unit


client = instructor.from_openai(OpenAI(base_url=url, api_key="none"))
# The class is a tool, and Instructor names it as the one to call.
call = client.chat.completions.create(
    model=name, temperature=0, response_model=ConvertArea, max_retries=1,
    messages=[{"role": "user", "content": "84제곱미터는 몇 평이야?"}],
)
print(convert_area(**call.model_dump()))
