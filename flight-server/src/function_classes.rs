//! The classes of those functions that need no bound of their own. A test holds the lists against the registry.

/// Of those that are no growing, costly or casting one: what they make is at most a few times what they are given, or of
/// a size of its own, and they go over it once or sort it.
pub const PLAIN: &str = "
    abs acos acosh asin asinh atan atan2 atanh cbrt ceil cos cosh cot degrees exp factorial floor gcd isnan
    iszero lcm ln log log2 log10 nanvl pi power radians random signum sin sinh sqrt tan tanh round trunc
    nullif nvl nvl2 coalesce greatest least get_field union_extract union_tag arrow_typeof arrow_field
    arrow_metadata with_metadata version input_file_name file_row_index cast_to_type try_cast_to_type
    current_date current_time date_bin date_part date_trunc from_unixtime make_date make_time now to_date
    to_local_time to_time to_unixtime to_timestamp to_timestamp_seconds to_timestamp_millis
    to_timestamp_micros to_timestamp_nanos
    ascii bit_length btrim chr ends_with lower ltrim octet_length rtrim split_part starts_with to_hex upper
    uuid contains character_length find_in_set initcap left reverse right strpos substr substr_index translate
    decode digest md5 sha224 sha256 sha384 sha512 string_to_array
    array_compact array_dims cardinality array_ndims array_except array_element array_pop_back array_pop_front
    array_slice array_any_value array_has empty array_length array_normalize array_add array_avg array_product
    array_scale array_subtract array_sum cosine_distance inner_product array_distance flatten array_max
    array_min array_sort array_reverse array_distinct array_intersect array_position array_positions
    array_remove array_remove_all array_remove_n map_entries map_extract map_keys map_values
";

/// Aggregates that hold a state of fixed size a group, and those that hold what they were given: all of it is reserved in the
/// memory pool, a batch at a time.
pub const AGGREGATES: &str = "
    any_value first_value last_value covar_samp covar_pop corr sum max min count regr_slope regr_intercept
    regr_count regr_r2 regr_avgx regr_avgy regr_sxx regr_syy regr_sxy var var_pop stddev stddev_pop
    approx_median approx_distinct approx_percentile_cont approx_percentile_cont_with_weight bit_and bit_or
    bit_xor bool_and bool_or avg grouping
    array_agg median percentile_cont string_agg nth_value
";

/// One value a row, from among those of the window.
pub const WINDOWS: &str = "
    cume_dist row_number lead lag rank dense_rank percent_rank ntile first_value last_value nth_value
";
