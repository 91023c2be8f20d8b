"""Chat templates of the shapes that models have, and control tokens of the forms that they take.

All are written here, after what such templates do: write texts side by side, take tags out of
answers, put a role or a name between two characters of their own.
"""

# flake8: noqa: E501

from __future__ import annotations

#: One turn for each message; parts one behind the other; tools as JSON.
HEADERS = """\
{{- bos_token }}
{%- if tools %}
    {{- '<|start_header_id|>system<|end_header_id|>\\n\\n' + (tools | tojson) + '<|eot_id|>' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] | trim }}
    {%- elif message['content'] %}
        {%- for part in message['content'] %}{{ part['text'] | trim }}{%- endfor %}
    {%- endif %}
    {%- for call in message.tool_calls or [] %}
        {{- call.function.name + call.function.arguments | tojson + call.id }}
    {%- endfor %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""
#: The role between two characters of the template's own; the texts of tools side by side.
ROLES = """\
{% macro described(tool) %}{{ tool.function.name }}|{{ tool.function.description }}{% endmacro %}
{% for message in messages -%}
{{ '<|' + message['role'] + '|>' }}{% if message['content'] is string %}{{ message['content'] }}
{%- else %}{% for part in message['content'] or [] %}{{ part.text }}{% endfor %}{% endif %}
{%- for call in message.tool_calls or [] %}{{ call.function.arguments | tojson }}{% endfor %}<|eot_id|>
{% endfor %}{% for tool in tools or [] %}{{ described(tool) }}{% endfor %}{{ date_string }}
{% if add_generation_prompt %}<|assistant|>{% endif %}"""
#: Keys and values of schemas as elements of their names; thoughts are taken out of answers.
ELEMENTS = """\
{%- macro shown(value) %}
{%- if value is mapping %}{% for key, inner in value.items() %}
<{{ key }}>{{ shown(inner) }}</{{ key }}>{% endfor %}
{%- elif value is string %}{{ value }}
{%- else %}{{ value | tojson }}{% endif %}
{%- endmacro %}
{%- for tool in tools or [] %}{{ shown(tool) }}{% endfor %}
{%- set system = namespace(text='') %}
{%- for message in messages %}
{%- if message.role == 'system' and message.content is string %}{% set system.text = message.content %}
{%- else %}
<|start_header_id|>{{ message.role }}<|end_header_id|>
{%- if message.content is string %}
{{- system.text }}{{ message.content.split('</think>')[-1].lstrip('\\n') | replace('<nop>', '') | replace('\\n', '') }}
{%- else %}{%- for part in message.content or [] %}{{ part.text }}{% endfor %}{% endif %}
{%- for call in message.tool_calls or [] %}{{ shown(call.function) }}{% endfor %}<|eot_id|>
{%- endif %}{% endfor %}"""
#: Instructions between marks, nothing between turns.
MARKS = """\
{{ bos_token }}{% for message in messages %}
{%- if message.role == 'assistant' %}{{ message.content }}{{ eos_token }}
{%- elif message.content is string %}[INST] {{ message.content }} [/INST]
{%- else %}[INST]{% for part in message.content or [] %}{{ part.text }}{% endfor %}[/INST]{% endif %}
{%- for call in message.tool_calls or [] %}[{{ call.function.name }}]{{ call.function.arguments | tojson }}{% endfor %}
{%- endfor %}{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}"""

TEMPLATES = {"headers": HEADERS, "roles": ROLES, "elements": ELEMENTS, "marks": MARKS}
#: With and without `<|`, `|>`; some begin with others, some with the character they end with.
TOKENS = [
    "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|end|>",
    "<|user|>", "<|assistant|>", "<|system|>", "<|tool|>", "<s>", "</s>", "[INST]", "[/INST]",
    "<start_of_turn>", "<|eot_id|><|end|>", "###", "<\uff5cend\u2581of\uff5c>", "[[x]]",
    *[f"<|reserved_{number}|>" for number in range(30)],
]
