package load

// Result is what a wave did to a server. The fields up to server's first two
// are a contract with the scripts of others.
type Result struct {
	Offered       int     `json:"offered"`         // connections that the curve asked for at its highest
	HeldMax       int     `json:"held_max"`        // that were open at once
	RefusedAtRcpt int     `json:"refused_at_rcpt"` // strangers that were answered 5xx at RCPT
	Lost          int     `json:"lost"`            // reset, never answered, or closed without a word
	Good          Good    `json:"good"`
	Server        *Server `json:"server,omitempty"` // where a pid was given

	Target      string         `json:"target"`
	Date        string         `json:"date"`
	Factor      float64        `json:"factor"`
	Speed       float64        `json:"speed"`
	Seconds     float64        `json:"seconds"` // that the wave took
	Interrupted bool           `json:"interrupted"`
	GreetedMax  int            `json:"greeted_max"`      // open at once and greeted
	Attempted   int            `json:"attempted"`        // connections tried, with those that replaced others
	Accepted    int            `json:"accepted_at_rcpt"` // strangers that were answered 2xx at RCPT
	TurnedAway  int            `json:"turned_away"`      // that got another 4xx or 5xx
	Unfinished  int            `json:"unfinished"`       // still within their patience when the run ended
	LostBy      map[string]int `json:"lost_by"`          // why
	Replies     map[string]int `json:"replies"`          // "rcpt 550": how many
	Wait        Spread         `json:"wait_ms"`          // strangers: until the banner
	Refusal     Spread         `json:"refusal_ms"`       // strangers: from connecting to the 5xx at RCPT
	Client      Client         `json:"client"`

	Samples []Sample `json:"-"`
	Mail    []Mail   `json:"-"`
}

// Good is what good senders felt during the wave. Times are of a delivery, from
// connecting to the 250 after the message, beyond the quiet median wait before
// the banner of its class.
type Good struct {
	Sent     int            `json:"sent"`
	OK       int            `json:"ok"`
	P50      float64        `json:"p50_ms"`
	P99      float64        `json:"p99_ms"`
	Worst    float64        `json:"worst_ms"`
	Known    Class          `json:"known"`
	New      Class          `json:"new"`
	Failures map[string]int `json:"failures"` // what happened to the rest
	Slowest  []Delivery     `json:"slowest"`  // of those that arrived
}

// Delivery is one delivery, with where its time went.
type Delivery struct {
	At    float64            `json:"at_s"` // since the wave began
	Class string             `json:"class"`
	From  string             `json:"from"`
	Took  float64            `json:"took_ms"` // beyond the usual wait
	Steps map[string]float64 `json:"steps_ms"`
}

// Class is one kind of good sender: known ones delivered before, new ones come
// for the first time.
type Class struct {
	Sent  int     `json:"sent"`
	OK    int     `json:"ok"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	Worst float64 `json:"worst_ms"`
	Wait  float64 `json:"wait_ms"` // median wait before the banner, in the quiet phase
	Quiet Quiet   `json:"quiet"`

	Banner Spread `json:"banner_ms"` // wait before the banner, during the wave
}

// Quiet is the same before the wave.
type Quiet struct {
	Sent int     `json:"sent"`
	OK   int     `json:"ok"`
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
}

// Server is what the wave cost the server's processes.
type Server struct {
	PSSPerGuest   float64 `json:"pss_bytes_per_guest"` // (PSS with the most guests − idle) ÷ guests
	CPUPerRefusal float64 `json:"cpu_ms_per_refusal"`  // without what its good deliveries cost in the quiet phase
	PSSStart      int64   `json:"pss_start_bytes"`     // before the quiet phase
	PSSIdle       int64   `json:"pss_idle_bytes"`      // the lowest since then
	PSSMax        int64   `json:"pss_max_bytes"`
	CPUWave       float64 `json:"cpu_ms_wave"`           // all of it, during the wave
	CPUPerGood    float64 `json:"cpu_ms_per_good_quiet"` // per good delivery in the quiet phase
}

// Client is what the load itself cost.
type Client struct {
	CPU     float64 `json:"cpu_ms"`
	RSS     int64   `json:"rss_max_bytes"`
	LateMax float64 `json:"late_max_ms"` // the longest that its loop came late: what it adds to the times of others
}

// Spread is a distribution of times.
type Spread struct {
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	Worst float64 `json:"worst"`
}

// Sample is a moment of the wave, for the picture.
type Sample struct {
	At      float64 // seconds
	Offered int
	Held    int
	Greeted int
	PSS     int64
}

// Mail is one good delivery, for the picture.
type Mail struct {
	At    float64 // seconds
	Took  float64 // milliseconds beyond the wait of its class
	Known bool
	OK    bool
}
