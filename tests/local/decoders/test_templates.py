"""Chat templates as prompts: the same text as Jinja renders, and no code, loop or text without limit."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from chat_templates import REFUSAL, rendered, rendered_by_jinja
from podium.errors import UnsupportedModel

TEMPLATES = {
    "loop": "{% for m in messages %}{{ loop.index0 }}: {{ m.content }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "loop with break": "{% for m in messages %}{% if m.role == 'document' %}{% break %}{% endif %}{{ m.content }};{% endfor %}",
    "loop with continue": "{% for m in messages %}{% if m.role != 'query' %}{% continue %}{% endif %}{{ m.role }};{% endfor %}",
    "text before a continue": "{% for m in messages %}{% if m.role=='system' %}<Instruct>: {{ m.content }}\n{% continue %}"
    "{% endif %}<{{ m.role }}>: {{ m.content }}\n{% endfor %}answer:",
    "text before a break": "{% for m in messages %}"
    "{{ m.role }}{% if m.role == 'query' %}: {{ m.content }}{% break %}{% endif %}"
    ";{% endfor %}.",
    "continue in an inner loop": "{% for m in messages %}"
    "<{% for n in messages %}{{ loop.index }}{% if loop.first %}-{% continue %}"
    "{% endif %}{{ n.content }}{% endfor %}>{% endfor %}",
    "scope of else": "{% for m in [] %}{% else %}{% set x = 'a' %}{{ x }}{% endfor %}{{ x is defined }}{{ x }}",
    "scope of a block": "{% set x = 'a' %}{% set text %}{% set x = 'b' %}{% set y = x %}{{ x }}{% endset %}"
    "{{ x }}{{ text }}{{ y is defined }}",
    "block in a loop": "{% for m in messages %}"
    "{% set text %}<{{ loop.index }}{{ m.content }}>{% endset %}{{ text }}{% endfor %}",
    "trimmed blocks": "  {% if tools %}\n  {% else %}\n  {%- for m in messages -%}\n  <{{- m.content -}}>\n{%- endfor %}\n"
    "  {% endif %}\n\n",
    "scope of a loop": "{% set x = 'a' %}{% for m in messages %}{% set x = m.content %}{% endfor %}{{ x }}",
    "conditions": "{% if tools %}tools{% elif documents %}documents{% else %}{{ messages[1].content }}{% endif %}",
    "generation prompt": "{{ messages[1].content }}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "tokens": "{{ bos_token }}{{ messages[1].content }}{{ eos_token }}",
    "block": "{% set text %}<{{ messages[1].content }}>{% endset %}{{ text }}",
    "comment": "{# nothing #}{{ messages[1].content }}\n",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_has_the_text_that_jinja_renders(name):
    assert rendered(TEMPLATES[name]) == rendered_by_jinja(TEMPLATES[name])


def test_missing_package_is_an_error_with_the_command_that_installs_it():
    script = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from podium.local.decoders.templates import render\n"
        "try: render('', {}, is_structured=False, variables={})\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert "MissingPackage this needs jinja2, which is not installed: pip install 'jinja2>=3.1'" in process.stdout


def test_content_may_be_a_list():
    template = "{% for m in messages %}{{ m.role + ': ' + m.content[0].text | trim }}\n{% endfor %}"
    assert rendered(template, is_structured=True) == rendered_by_jinja(template, is_structured=True)


REFUSED = {
    "long text": "{{ 'a' * 10000000000 }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "long number": "{{ " + "9" * 5000 + " }}",
    "modulo": "{{ '%1000000000d' % 1 }}",
    "range": "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
    "nested loops": "".join(f"{{% for m{i} in messages %}}" for i in range(12)) + "x" + "{% endfor %}" * 12,
    "deep": "{{ " + "(" * 20_000 + "1" + ")" * 20_000 + " }}",
    "long template": "a" * 200_000,
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__ }}",
    "self": "{{ self._TemplateReference__context }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "extends": "{% extends 'base' %}",
    "macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "call": "{{ messages.append(1) }}",
    "arguments": "{{ messages[0].get(*messages) }}",
    "syntax": "{% for %}",
    "exception": "{{ raise_exception('only user and assistant') }}",
    "continue in a block": "{% for m in messages %}{% set x %}a{% continue %}{% endset %}{% endfor %}",
    "continue without a loop": "a{% continue %}",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_template_that_is_not_a_prompt_is_refused(name):
    with pytest.raises(UnsupportedModel, match=REFUSAL):
        rendered(REFUSED[name])


def test_no_sequence_of_constructs_takes_long_or_fails_in_another_way():
    """Every template ends with a prompt or an error, whatever its statements do to a text and a list."""
    statements = [
        "{% set ns.a = ns.a + ns.a %}", "{% set ns.a = ns.a ~ messages[1].content %}", "{% set ns.b = ns.b + ns.b %}",
        "{% set ns.b = [ns.b, ns.b] %}", "{% for x in ns.b %}{% set ns.a = ns.a + 'x' %}{% endfor %}", "{{ ns.a }}",
        "{{ ns.b | length }}", "{% set ns.a = ns.a | trim | replace('a', 'bb') %}", "{% for m in messages %}", "{% endfor %}",
        "{% if ns.b == ns.b %}{% endif %}", "{{ ns.b | join(ns.a) }}", "{% set ns.a = (ns.b | join(ns.a)) %}",
    ]  # fmt: skip
    draw = random.Random(0)
    results = {"prompt": 0, "refused": 0}
    for _ in range(300):
        template = "{% set ns = namespace(a='a', b=[1]) %}" + "".join(draw.choices(statements, k=draw.randint(1, 60)))
        try:
            rendered(template)
            results["prompt"] += 1
        except UnsupportedModel:
            results["refused"] += 1
    assert min(results.values()) > 10


def test_random_templates_have_the_text_that_jinja_renders():
    """Loops, conditions, scopes and blocks in any order and depth: the text is the same, or the template is refused."""
    statements = [
        "{{ x }}", "{% set x = loop.index %}", "{% set x = 'b' %}", "{% set ns.a = ns.a ~ 'n' %}", "{{ ns.a }}", "text;",
        "{{ messages[1].content }}", "{% set x %}<{{ x }}{% set y = 'y' %}>{% endset %}", "{{ y is defined }}",
        "{% if loop is defined and loop.first %}{% continue %}{% endif %}", "{% if x == 'b' %}{% break %}{% endif %}",
        "{{ loop.revindex if loop is defined }}", "{{ loop.previtem.role if loop is defined and loop.previtem is defined }}",
    ]  # fmt: skip
    blocks = [
        ("{% for m in messages %}", "{% endfor %}"), ("{% for m in messages[5:] %}a{% else %}", "{% endfor %}"),
        ("{% if x == 'b' %}", "{% else %}-{% endif %}"), ("{% set y %}", "{% endset %}"),
    ]  # fmt: skip
    draw = random.Random(0)

    def body(depth):
        parts = draw.choices(statements, k=draw.randint(1, 4))
        if depth:
            start, end = draw.choice(blocks)
            parts.insert(draw.randrange(len(parts) + 1), start + body(depth - 1) + end)
        return "".join(parts)

    rendered_count = 0
    for _ in range(1000):
        template = (
            "{% set ns = namespace(a='') %}{% set x = 'a' %}{% for m in messages %}" + body(draw.randint(0, 3)) + "{% endfor %}"
        )
        try:
            text = rendered(template)
        except UnsupportedModel:
            continue
        rendered_count += 1
        assert text == rendered_by_jinja(template), template
    assert rendered_count > 500
