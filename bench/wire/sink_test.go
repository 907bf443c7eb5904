package wire

import "testing"

func TestSink_Counts(t *testing.T) {
	s, err := NewSink("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := DialSMTP(s.Addr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := c.Send("a@example.org", []string{"b@example.org", "c@example.org"}, Stuff([]byte("Subject: x\r\n\r\n.dot\r\n"))); err != nil {
			t.Fatal(err)
		}
	}
	c.Quit()
	if s.Messages() != 3 || s.Recipients() != 6 {
		t.Errorf("%d messages to %d recipients", s.Messages(), s.Recipients())
	}
	if _, _, n := s.Times(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
