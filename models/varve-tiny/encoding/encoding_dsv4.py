"""What varve-tiny is told beside messages, in words of its own.

varve reads these strings under the names that DeepSeek-V4's checkpoints have for theirs
(src/chat/deepseek_v4_texts.h). It never runs the file.
"""

TOOLS_TEMPLATE = """Tools, each a JSON object on a line:
{tool_schemas}
An answer ends with the calls that it needs. string="true" stands before text, "false" before JSON:
<{dsml_token}tool_calls>
<{dsml_token}invoke name="TOOL">
<{dsml_token}parameter name="KEY" string="true">VALUE</{dsml_token}parameter>
</{dsml_token}invoke>
</{dsml_token}tool_calls>"""

response_format_template = "The answer is JSON of this schema alone: {schema}"

REASONING_EFFORT_MAX = "Here is time to think: every doubt is followed to its end.\n\n"
