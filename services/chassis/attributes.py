"""The names of span attributes, span events and log fields: one table, so that every service spells them alike.

`gen_ai.*`, `rpc.*`, `error.*`, `server.*` are OpenTelemetry's semantic conventions (GenAI conventions of 2026);
`turnpike.*` are ours.
"""

# ---- OpenTelemetry: remote calls and errors --------------------------------------------------------------------------
RPC_SYSTEM = "rpc.system"
RPC_METHOD = "rpc.method"
RPC_STATUS = "rpc.response.status_code"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"
EXCEPTION_EVENT = "exception"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"

# ---- OpenTelemetry: generative AI ------------------------------------------------------------------------------------
GEN_AI_OPERATION = "gen_ai.operation.name"
GEN_AI_PROVIDER = "gen_ai.provider.name"
GEN_AI_REQUEST_MODEL = "gen_ai.request.model"
GEN_AI_REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
GEN_AI_REQUEST_TEMPERATURE = "gen_ai.request.temperature"
GEN_AI_REQUEST_STREAM = "gen_ai.request.stream"
GEN_AI_RESPONSE_ID = "gen_ai.response.id"
GEN_AI_RESPONSE_MODEL = "gen_ai.response.model"
GEN_AI_RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
GEN_AI_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"  # seconds
GEN_AI_USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_USAGE_CACHE_CREATION_TOKENS = "gen_ai.usage.cache_creation.input_tokens"

# ---- Turnpike --------------------------------------------------------------------------------------------------------
CALLER = "turnpike.caller"
ERROR_ID = "turnpike.error_id"
ERROR_REASON = "turnpike.error_reason"
ORGANISATION_ID = "turnpike.organisation.id"
TEAM_ID = "turnpike.team.id"
PROJECT_ID = "turnpike.project.id"
KEY_ID = "turnpike.key.id"
REQUEST_ID = "turnpike.request.id"
ATTEMPT = "turnpike.attempt"
ATTEMPT_PURPOSE = "turnpike.attempt.purpose"
DECISION_ID = "turnpike.decision.id"
ROUTE_STRATEGY = "turnpike.route.strategy"
ROUTE_MODEL = "turnpike.route.model"
ROUTE_CANDIDATES = "turnpike.route.candidates"
CANDIDATE_DROPPED_EVENT = "turnpike.candidate.dropped"
CANDIDATE_RULE = "turnpike.candidate.rule"
ENDPOINT_ID = "turnpike.endpoint.id"
HOLD_NANOS = "turnpike.hold.nanos"  # nano-USD
COST_NANOS = "turnpike.cost.nanos"  # nano-USD
BUDGET_ID = "turnpike.budget.id"
"""The budget that refused."""
LEDGER_SEQUENCE = "turnpike.ledger.sequence"
BATCH_SIZE = "turnpike.batch.size"
