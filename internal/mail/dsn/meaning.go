package dsn

import (
	"strings"

	"github.com/breakwater-mail/breakwater/internal/mail/smtp"
)

// means is what a status code says to people.
type means struct{ why, advice string }

// Advice that fits several codes.
const (
	checkAddress = "check the address for a typing mistake. If it is right, ask the recipient in another way for one that works."
	sendLater    = "send the message again later. If it fails again, ask the recipient in another way, or the postmaster of that host."
	askHost      = "if the reply names a reason or a web page, follow that; else ask the recipient in another way, or the postmaster of that host. Sending it again as it is will hardly help."
	askOurHost   = "ask the postmaster of your own mail host, and show this message."
	sendLess     = "send it in smaller pieces, or put large files where the recipient can fetch them."
)

// meaning is what RFC 3463 says of a code, in words: of its subject and
// detail, since the class is in what happened already.
func meaning(c smtp.EnhancedCode) means {
	_, rest, _ := strings.Cut(string(c), ".")
	subject, _, _ := strings.Cut(rest, ".")
	for _, m := range meanings {
		if m.code == rest || m.code == subject {
			return m.means
		}
	}
	if strings.HasPrefix(string(c), "4") {
		return means{"It was tried again and again, and this host has given up now.", sendLater}
	}
	return means{"The message was refused.", askHost}
}

// lateness is what a code says of a message that is only late so far: its
// subject may be final for another host and passing for this one.
func lateness(c smtp.EnhancedCode) string {
	switch _, rest, _ := strings.Cut(string(c), "."); {
	case rest == "2.2", strings.HasPrefix(rest, "3."), strings.HasPrefix(rest, "4."):
		return meaning(c).why
	}
	return "The recipient's host does not take the message yet."
}

// meanings are looked through in order: details before their subjects.
var meanings = []struct {
	code string
	means
}{
	{"1.1", means{"There is no such mailbox.", checkAddress}},
	{"1.2", means{"There is no such domain, or no host that takes mail for it.", checkAddress}},
	{"1.3", means{"The address is not written as an address must be.", checkAddress}},
	{"1.4", means{"The address stands for more than one mailbox.", checkAddress}},
	{"1.6", means{"The mailbox has moved, and did not say where to.", checkAddress}},
	{"1.7", means{"The other host does not accept your address as the sender's.", askOurHost}},
	{"1.8", means{"The other host does not accept your address as the sender's.", askOurHost}},
	{"1.10", means{"The domain says that it takes no mail at all.", checkAddress}},
	{"1", means{"Something is wrong with the address.", checkAddress}},
	{"2.1", means{"The mailbox is closed.", checkAddress}},
	{"2.2", means{"The mailbox is full.", "tell the recipient in another way that the mailbox is full, and send the message again when it is not."}},
	{"2.3", means{"The message is larger than the mailbox takes.", sendLess}},
	{"2.4", means{"The mailing list could not be expanded.", "ask the owner of the list."}},
	{"2", means{"The mailbox does not take mail.", sendLater}},
	{"3.4", means{"The message is larger than the recipient's host takes.", sendLess}},
	{"3", means{"The recipient's host does not take mail, or has no room for it.", sendLater}},
	{"4.6", means{"The message goes in a circle between hosts.", askOurHost}},
	{"4.7", means{"It could not be delivered in the time for which this host tries.", sendLater}},
	{"4", means{"The recipient's host could not be reached.", sendLater}},
	{"5.3", means{"The message has more recipients than the other host takes at once.", "send it to fewer recipients at a time."}},
	{"5", means{"The two hosts did not understand each other.", askOurHost}},
	{"6.7", means{"The recipient's host cannot take international addresses.", "ask the recipient for an address of plain letters, and send it from one."}},
	{"6", means{"The recipient's host cannot take what the message is made of.", "send it in another form, such as plain text."}},
	{"7.1", means{"The recipient's host does not let you write to this address.", askHost}},
	{"7.26", means{"The other host found no proof that the message is from your domain.", askOurHost}},
	{"7.10", means{"The connection to the recipient's host could not be made safe as it has to be.", askOurHost}},
	{"7.30", means{"The recipient's host cannot keep the message safe on its way as you asked.", "send it again without asking for that, or ask the recipient for another address."}},
	{"7", means{"The recipient's host refused the message by its rules.", askHost}},
}
