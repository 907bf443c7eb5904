# What a developer and CI run. Each target ends in one line that says how it went.

# Tools that are no part of go.mod: their versions stand here and nowhere else.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.6.0

GO       ?= go
FUZZTIME ?= 60s
SEEDS    ?= 10000

# Packages whose tests have goroutines worth watching.
RACE ?= ./internal/base/... ./internal/store/... ./internal/spool/... ./internal/edge/... ./internal/access/... ./internal/ops/...

SHELL = bash -o pipefail
.SHELLFLAGS = -euc
.DEFAULT_GOAL = test
.PHONY: test race lint vuln bench interop fuzz sim

# went NAME: the closing line of a target, whatever happens before it.
went = began=$$SECONDS; trap 'rc=$$?; [ $$rc = 0 ] && how=ok || how=FAILED; echo "$(1): $$how, $$((SECONDS-began)) s"; exit $$rc' EXIT

test:
	@$(call went,test); $(GO) test ./...

race:
	@$(call went,race); $(GO) test -race $(RACE)

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
	@$(call went,interop); interop/install clients inner; $(GO) test -count=1 -tags interop -timeout 15m ./interop/...

# Every fuzz target for FUZZTIME: a time (60s) or a number of inputs (5000x).
# A time can end a healthy run as FAIL with nothing but "context deadline
# exceeded" (golang/go#75804), so only a failure that names something else counts.
fuzz:
	@n=0; $(call went,fuzz); \
	for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			out=$$($(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5s "$$package" 2>&1) \
				|| case "$$out" in \
					*"Failing input"*|*panic*) echo "$$out"; exit 1;; \
					*"context deadline exceeded"*) ;; \
					*) echo "$$out"; exit 1;; \
				esac; \
			echo "$$package $$target: $$(grep -o 'execs: [0-9]*' <<< "$$out" | tail -n 1)"; \
			n=$$((n+1)); \
		done; \
	done; \
	echo "$$n targets, $(FUZZTIME) each"

# The simulations of crashes and faults with SEEDS seeds each: the journal's
# tests take the number as a flag, the others from the environment.
sim:
	@$(call went,sim); \
	$(GO) test -count=1 -timeout 2h -run Sim ./internal/store/journal -args -seeds=$(SEEDS); \
	SEEDS=$(SEEDS) $(GO) test -count=1 -timeout 2h -run Sim $$($(GO) list ./internal/... | grep -v '/store/journal$$')
