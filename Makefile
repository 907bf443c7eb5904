# What a developer and CI run. Each target ends in one line that says how it went.

# Tools that are no part of go.mod: their versions stand here and nowhere else.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.6.0

GO       ?= go
FUZZTIME ?= 60s
SEEDS    ?= 10000

# Packages whose tests have goroutines worth watching.
RACE ?= ./internal/base/... ./internal/store/... ./internal/spool/... ./internal/edge/... ./internal/access/... ./internal/ops/...

# What lint does already is not done again with the tests; and what is slow on a
# busy machine has not failed.
TESTFLAGS = -vet=off -timeout 40m

SHELL = bash -o pipefail
.SHELLFLAGS = -euc
.DEFAULT_GOAL = test
.PHONY: test race lint vuln bench interop fuzz sim

# went NAME: the closing line of a target, whatever happens before it.
went = began=$$SECONDS; trap 'rc=$$?; [ $$rc = 0 ] && how=ok || how=FAILED; echo "$(1): $$how, $$((SECONDS-began)) s"; exit $$rc' EXIT

test:
	@$(call went,test); $(GO) test $(TESTFLAGS) ./...

race:
	@$(call went,race); $(GO) test -race $(TESTFLAGS) $(RACE)

lint:
	@$(call went,lint); \
	unformatted=$$(gofmt -l cmd internal bench interop); \
	[ -z "$$unformatted" ] || { echo "not formatted, run gofmt -w:" $$unformatted; exit 1; }; \
	$(GO) vet ./...; \
	$(GO) vet -tags interop ./interop/...; \
	$(GO) run $(STATICCHECK) ./...; \
	$(GO) mod verify; \
	$(GO) mod tidy -diff

# govulncheck reads a database from the internet. Where that cannot be reached
# nothing is checked, and the target says so.
vuln:
	@$(call went,vuln); \
	out=$$($(GO) run $(GOVULNCHECK) ./... 2>&1) && { echo "$$out"; exit 0; }; \
	echo "$$out"; \
	case "$$out" in *"fetching vulnerabilities"*) echo "the database of vulnerabilities is out of reach: NOT CHECKED";; *) exit 1;; esac

# Ours and Postfix + Dovecot in one run, a table of ratios at the end.
bench:
	@$(call went,bench); interop/install peers; $(GO) run ./bench $(BENCH)

# Real clients against a real host.
interop:
	@$(call went,interop); interop/install clients inner; $(GO) test -count=1 -vet=off -tags interop -timeout 40m ./interop/...

# Every fuzz target for FUZZTIME: a time (60s) or a number of inputs (5000x).
fuzz:
	@$(call went,fuzz); GO="$(GO)" .ci/fuzz $(FUZZTIME)

# The simulations of crashes and faults with SEEDS seeds each: the journal's
# tests take the number as a flag, the others from the environment.
sim:
	@$(call went,sim); \
	$(GO) test -count=1 -timeout 2h -run Sim ./internal/store/journal -args -seeds=$(SEEDS); \
	SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 2h -run Sim $$($(GO) list ./internal/... | grep -v '/store/journal$$')
