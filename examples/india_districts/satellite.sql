-- Night lights: monthly VIIRS radiance to one row per district and quarter.
-- Every difference names its lag in quarters (RANGE), so a gap in the data gives NULL, never a wrong lag.
WITH quarters AS (
  SELECT
    gadm_state || '|' || gadm_district AS entity,
    year * 4 + (month - 1) // 3 AS t,
    avg(mean_radiance) AS radiance,
    ln(nullif(max(mean_radiance), 0)) - ln(nullif(min(mean_radiance), 0)) AS sat_rng
  FROM read_csv('${data}/satellite_viirs_monthly.csv.gz')
  GROUP BY ALL
  HAVING count(*) = 3
),
logs AS (
  SELECT
    *,
    ln(nullif(radiance, 0)) AS l,
    CASE WHEN count(*) OVER year_back = 4 THEN ln(nullif(avg(radiance) OVER year_back, 0)) END AS sat_l4
  FROM quarters
  WINDOW year_back AS (PARTITION BY entity ORDER BY t RANGE BETWEEN 3 PRECEDING AND CURRENT ROW)
),
growth AS (
  SELECT
    *,
    l - first_value(l) OVER back1 AS l_g1,
    l - first_value(l) OVER back4 AS sat_g1,
    sat_l4 - first_value(sat_l4) OVER back4 AS sat_t4,
    sat_l4 - first_value(sat_l4) OVER back8 AS sat_t8,
    sat_l4 - first_value(sat_l4) OVER back12 AS sat_t12
  FROM logs
  WINDOW
    back1 AS (PARTITION BY entity ORDER BY t RANGE BETWEEN 1 PRECEDING AND 1 PRECEDING),
    back4 AS (PARTITION BY entity ORDER BY t RANGE BETWEEN 4 PRECEDING AND 4 PRECEDING),
    back8 AS (PARTITION BY entity ORDER BY t RANGE BETWEEN 8 PRECEDING AND 8 PRECEDING),
    back12 AS (PARTITION BY entity ORDER BY t RANGE BETWEEN 12 PRECEDING AND 12 PRECEDING)
)
SELECT
  entity,
  last_day(make_date(t // 4, (t % 4) * 3 + 3, 1)) AS period,
  sat_l4, sat_t4, sat_t8, sat_t12, sat_g1,
  sat_g1 - first_value(sat_g1) OVER (
    PARTITION BY entity ORDER BY t RANGE BETWEEN 4 PRECEDING AND 4 PRECEDING
  ) AS sat_acc,
  stddev_samp(l_g1) OVER (PARTITION BY entity ORDER BY t RANGE BETWEEN 7 PRECEDING AND CURRENT ROW) AS sat_vol,
  sat_rng
FROM growth
ORDER BY entity, period
