// Package safedriver is the safe-driver example: the 57 columns of the insurance
// data that the challenge is about, a seeded generator of rows like them, and
// small LightGBM models trained on generated rows. It holds no row of the
// original data.
package safedriver

// Columns are the features in request order.
var Columns = [57]string{
	"ps_ind_01", "ps_ind_02_cat", "ps_ind_03", "ps_ind_04_cat", "ps_ind_05_cat", "ps_ind_06_bin", "ps_ind_07_bin", "ps_ind_08_bin", "ps_ind_09_bin",
	"ps_ind_10_bin", "ps_ind_11_bin", "ps_ind_12_bin", "ps_ind_13_bin", "ps_ind_14", "ps_ind_15", "ps_ind_16_bin", "ps_ind_17_bin", "ps_ind_18_bin",
	"ps_reg_01", "ps_reg_02", "ps_reg_03", "ps_car_01_cat", "ps_car_02_cat", "ps_car_03_cat", "ps_car_04_cat", "ps_car_05_cat", "ps_car_06_cat",
	"ps_car_07_cat", "ps_car_08_cat", "ps_car_09_cat", "ps_car_10_cat", "ps_car_11_cat", "ps_car_11", "ps_car_12", "ps_car_13", "ps_car_14", "ps_car_15",
	"ps_calc_01", "ps_calc_02", "ps_calc_03", "ps_calc_04", "ps_calc_05", "ps_calc_06", "ps_calc_07", "ps_calc_08", "ps_calc_09", "ps_calc_10",
	"ps_calc_11", "ps_calc_12", "ps_calc_13", "ps_calc_14", "ps_calc_15_bin", "ps_calc_16_bin", "ps_calc_17_bin", "ps_calc_18_bin", "ps_calc_19_bin", "ps_calc_20_bin",
}

// Column returns the index of a column, or -1.
func Column(name string) int {
	for i, c := range Columns {
		if c == name {
			return i
		}
	}
	return -1
}

// shape says how a column is drawn.
type shape struct {
	low, high, mean float64 // of the values that are present
	missing         float64 // share of -1
	step            float64 // distance of neighbouring values; 0 for a continuous column
	sigma           float64 // continuous columns: standard deviation of the logarithm
}

func bin(mean float64) shape { return shape{low: 0, high: 1, mean: mean, step: 1} }

func whole(low, high, mean, missing float64) shape {
	return shape{low: low, high: high, mean: mean, missing: missing, step: 1}
}

func grid(low, high, mean, step float64) shape {
	return shape{low: low, high: high, mean: mean, step: step}
}

func continuous(low, high, mean, missing, sigma float64) shape {
	return shape{low: low, high: high, mean: mean, missing: missing, sigma: sigma}
}

// shapes follow the aggregate statistics of the real data: range, share of
// missing values, mean of the present ones. ps_car_15 is here as the whole number
// that it is the root of.
var shapes = [57]shape{
	whole(0, 7, 1.9005, 0), whole(1, 4, 1.3475, .0004), whole(0, 11, 4.4208, 0), whole(0, 1, .4194, .0002), whole(0, 6, .4232, .0094), bin(.3965), bin(.2551), bin(.1621), bin(.1863),
	bin(.0004), bin(.0021), bin(.0098), bin(.0009), whole(0, 3, .0131, 0), whole(0, 13, 7.3277, 0), bin(.6607), bin(.1216), bin(.1493),
	grid(0, .9, .6134, .1), grid(0, 1.8, .4408, .1), continuous(.06, 2.947, .8966, .1810, .37), whole(0, 11, 8.2993, .0002), bin(.8297), whole(0, 1, .6, .6879), whole(0, 9, .7602, 0), whole(0, 1, .53, .4434), whole(0, 17, 6.5748, 0),
	whole(0, 1, .9478, .0183), bin(.8275), whole(0, 4, 1.3284, .0014), whole(0, 2, .9931, 0), whole(1, 104, 62.016, 0), whole(0, 3, 2.3512, 0), continuous(.1414, 1.2649, .3802, 0, .15), continuous(.3132, 2.7073, .8140, 0, .27), continuous(.11, .5916, .3749, .0719, .12), whole(0, 14, 9.72, 0),
	grid(0, .9, .4478, .1), grid(0, .9, .4528, .1), grid(0, .9, .4510, .1), whole(0, 5, 2.3767, 0), whole(0, 6, 1.8938, 0), whole(2, 10, 7.693, 0), whole(0, 8, 2.998, 0), whole(3, 12, 9.218, 0), whole(0, 7, 2.331, 0), whole(0, 22, 8.411, 0),
	whole(0, 16, 5.452, 0), whole(0, 8, 1.443, 0), whole(0, 11, 2.880, 0), whole(0, 22, 7.533, 0), bin(.1238), bin(.6252), bin(.5541), bin(.2905), bin(.3599), bin(.1519),
}
