package easyenclave

// Money: exact dollars. Reading text is C's, so that all languages refuse the same; writing it is here.

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/easyenclave/easyenclave/bindings/go/internal/raw"
)

// Amount is money as people write it: "$200", "200.50 USD". An untyped constant fits; a float or an int does not compile.
type Amount string

// Dollars is an amount of whole dollars.
func Dollars(n int64) Amount { return Amount(strconv.FormatInt(n, 10)) }

// Cents is an amount of whole cents.
func Cents(n int64) Amount {
	sign := ""
	if n < 0 { // refused when it is used; written out so that the error shows it
		sign = "-"
	}
	units := uint64(n)
	if n < 0 {
		units = -units
	}
	return Amount(fmt.Sprintf("%s%d.%02d", sign, units/100, units%100))
}

// Money is exact: millionths of a dollar.
type Money int64

// ParseMoney reads text like Amount; errors.As to *InvalidAmountError says what is wrong with other text, and where.
func ParseMoney(text string) (Money, error) {
	if at := strings.IndexByte(text, 0); at >= 0 {
		return 0, &InvalidAmountError{newError(statusInvalidAmount, "the amount has a NUL character inside"), at}
	}
	var micros int64
	err := invoke(func(e raw.Ee_error) { micros = raw.Ees_money_parse(text, e) })
	return Money(micros), err
}

// String is "$200.00"; digits below a cent show when there are any.
func (m Money) String() string {
	units, sign := uint64(m), ""
	if m < 0 {
		units, sign = -units, "-"
	}
	part := strings.TrimRight(fmt.Sprintf("%06d", units%1000000), "0")
	for len(part) < 2 {
		part += "0"
	}
	return fmt.Sprintf("%s$%d.%s", sign, units/1000000, part)
}

// moneyJSON is {"usd": "0.40", "micros": 400000}; micros is text when it is too large for JSON's numbers.
type moneyJSON struct {
	Micros flexibleInt `json:"micros"`
}

type flexibleInt int64

func (n *flexibleInt) UnmarshalJSON(data []byte) error {
	value, err := strconv.ParseInt(strings.Trim(string(data), `"`), 10, 64)
	*n = flexibleInt(value)
	return err
}

func (m moneyJSON) money() Money { return Money(m.Micros) }
