"""Mirror of csrc/proto/failure_detector.h and membership.h."""

from libc.stdint cimport int32_t, uint32_t, uint64_t


cdef extern from "base/status.h" nogil:
    ctypedef enum dsm_status:
        DSM_OK
    const char *dsm_status_message(dsm_status status) noexcept


cdef extern from "proto/failure_detector.h" nogil:
    ctypedef struct dsm_local_health:
        uint32_t score
        uint32_t score_max

    void dsm_local_health_init(dsm_local_health *health, uint32_t score_max) noexcept
    void dsm_local_health_note(dsm_local_health *health, int32_t delta) noexcept
    uint64_t dsm_local_health_stretch_us(const dsm_local_health *health,
                                         uint64_t timeout_us) noexcept

    ctypedef struct dsm_observer:
        dsm_local_health health

    void dsm_observer_init(dsm_observer *observer, uint64_t period_us, uint32_t score_max,
                           uint64_t now_us) noexcept
    uint64_t dsm_observer_tick(dsm_observer *observer, uint64_t now_us) noexcept

    ctypedef struct dsm_phi_window:
        uint32_t count

    dsm_status dsm_phi_window_init(dsm_phi_window *window, uint32_t capacity) noexcept
    void dsm_phi_window_add(dsm_phi_window *window, uint64_t interval_us) noexcept
    double dsm_phi_window_mean(const dsm_phi_window *window) noexcept
    double dsm_phi_window_variance(const dsm_phi_window *window) noexcept
    double dsm_phi(double elapsed, double mean, double deviation) noexcept

    ctypedef struct dsm_detector_options:
        uint64_t interval_us
        uint32_t missed_suspected
        uint32_t missed_dead
        double phi_suspected
        double phi_dead
        uint64_t deviation_min_us
        uint64_t pause_us
        uint32_t samples
        bint accrual

    ctypedef struct dsm_detector:
        uint64_t incarnation
        uint32_t state

    dsm_status dsm_detector_init(dsm_detector *detector, uint64_t incarnation,
                                 const dsm_detector_options *options, uint64_t now_us) noexcept
    bint dsm_detector_beat(dsm_detector *detector, uint64_t incarnation,
                           uint64_t now_us) noexcept
    bint dsm_detector_check(dsm_detector *detector, const dsm_local_health *health,
                            uint64_t now_us) noexcept
    void dsm_detector_forgive(dsm_detector *detector, uint64_t stall_us,
                              uint64_t now_us) noexcept
    double dsm_detector_phi(const dsm_detector *detector, const dsm_local_health *health,
                            uint64_t now_us) noexcept


cdef extern from "proto/membership.h" nogil:
    enum:
        DSM_MEMBERSHIP_NEWS_MAX

    ctypedef struct dsm_member_news:
        uint64_t incarnation
        uint32_t node
        uint32_t accuser
        uint32_t state

    ctypedef struct dsm_membership_message:
        uint64_t sequence
        uint32_t kind
        uint32_t source "from"
        uint32_t target "to"
        uint32_t about
        uint32_t news_count
        dsm_member_news *news

    ctypedef struct dsm_membership_outputs:
        dsm_membership_message *messages
        dsm_member_news *changes
        uint32_t message_count
        uint32_t change_count

    ctypedef struct dsm_member:
        uint64_t incarnation
        uint32_t confirmer_count
        uint32_t state

    ctypedef struct dsm_membership_options:
        uint64_t probe_interval_us
        uint64_t probe_timeout_us
        uint64_t suspicion_min_us
        uint64_t suspicion_max_us
        uint64_t seed
        uint32_t confirmations
        uint32_t indirect
        uint32_t retell
        uint32_t dead_every
        uint32_t health_max

    ctypedef struct dsm_membership:
        dsm_local_health health
        uint32_t alive_count
        uint32_t suspect_count

    uint64_t dsm_suspicion_timeout_us(uint32_t confirmations, uint32_t expected,
                                      uint64_t min_us, uint64_t max_us) noexcept
    dsm_status dsm_membership_init(dsm_membership *membership, dsm_member *members,
                                   uint32_t capacity, uint32_t node, uint64_t incarnation,
                                   const dsm_membership_options *options,
                                   uint64_t now_us) noexcept
    dsm_status dsm_membership_hear(dsm_membership *membership, const dsm_member_news *news,
                                   uint64_t now_us, dsm_membership_outputs *outputs) noexcept
    dsm_status dsm_membership_know(dsm_membership *membership, uint32_t node,
                                   uint64_t incarnation) noexcept
    dsm_status dsm_membership_receive(dsm_membership *membership,
                                      const dsm_membership_message *message, uint64_t now_us,
                                      dsm_membership_outputs *outputs) noexcept
    void dsm_membership_tick(dsm_membership *membership, uint64_t now_us,
                             dsm_membership_outputs *outputs) noexcept
    void dsm_membership_leave(dsm_membership *membership,
                              dsm_membership_outputs *outputs) noexcept
    void dsm_membership_outputs_clear(dsm_membership_outputs *outputs) noexcept
