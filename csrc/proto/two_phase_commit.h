/* Two-phase commit with presumed abort: the coordinator and the participant of one transaction.
 *
 * Source: Mohan, Lindsay, Obermarck, "Transaction Management in the R* Distributed Database
 * Management System" (1986), section 3, presumed abort with the read-only vote. The decision by one
 * compare-and-swap word follows the idea of Guo et al., "Cornus" (2022).
 *
 * The law: a participant votes yes only once its PREPARED record is durable; a commit is spoken of
 * only once the COMMIT record (or the decision word) holds it; whoever finds no record of a
 * transaction answers ABORT; a participant that prepared never decides alone.
 *
 * Pure: the caller owns every struct, passes `now_us`, and carries the outputs out. One thread at a
 * time per struct. `once_durable` messages leave when every record handed out so far, by this call
 * or an earlier one, is durable; a record that is not `forced` may be lost without harm.
 * Node numbers are 0 to 63, so that a set of nodes is one word.
 */
#ifndef DSM_PROTO_TWO_PHASE_COMMIT_H
#define DSM_PROTO_TWO_PHASE_COMMIT_H

#include "../base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { DSM_TWO_PHASE_NODES_MAX = 64, DSM_TWO_PHASE_RECORDS_MAX = 2 };

typedef enum dsm_two_phase_kind {
  DSM_TWO_PHASE_PREPARE = 1,
  DSM_TWO_PHASE_VOTE,
  DSM_TWO_PHASE_COMMIT,
  DSM_TWO_PHASE_ABORT,
  DSM_TWO_PHASE_ACKNOWLEDGE,
  DSM_TWO_PHASE_INQUIRE,
} dsm_two_phase_kind;

typedef enum dsm_two_phase_vote {
  DSM_VOTE_NONE,
  DSM_VOTE_YES,
  DSM_VOTE_NO,
  DSM_VOTE_READ_ONLY,
} dsm_two_phase_vote;

typedef enum dsm_two_phase_outcome {
  DSM_OUTCOME_NONE,
  DSM_OUTCOME_COMMITTED,
  DSM_OUTCOME_ABORTED,
} dsm_two_phase_outcome;

typedef struct dsm_two_phase_message {
  uint64_t transaction;
  uint32_t kind;
  uint32_t vote;
  uint32_t from, to;
} dsm_two_phase_message;

/* Log records. COMMIT and END are the coordinator's, the others the participant's. */
typedef enum dsm_two_phase_record_kind {
  DSM_RECORD_PREPARED = 1,
  DSM_RECORD_COMMITTED,
  DSM_RECORD_ABORTED,
  DSM_RECORD_COMMIT,
  DSM_RECORD_END,
} dsm_two_phase_record_kind;

typedef struct dsm_two_phase_record {
  uint64_t transaction;
  uint64_t participants; /* COMMIT: who must acknowledge */
  uint32_t kind;
  uint32_t coordinator; /* PREPARED: whom to ask after a crash */
  bool forced;
} dsm_two_phase_record;

typedef struct dsm_two_phase_outputs {
  dsm_two_phase_message now[DSM_TWO_PHASE_NODES_MAX];
  dsm_two_phase_message once_durable[DSM_TWO_PHASE_NODES_MAX];
  dsm_two_phase_record records[DSM_TWO_PHASE_RECORDS_MAX];
  uint32_t now_count, once_durable_count, record_count;
  dsm_two_phase_outcome outcome; /* what became of the transaction, told once per side */
  bool outcome_once_durable;     /* the outcome, too, may only be told once durable */
  bool vote_wanted;              /* participant: answer with dsm_participant_vote */
  /* Non-blocking mode: compare-and-swap the decision word to this, and feed what it then holds to
   * the side's `_decided`. */
  dsm_two_phase_outcome decide;
} dsm_two_phase_outputs;

typedef struct dsm_two_phase_options {
  uint64_t vote_timeout_us;    /* coordinator: abort when a vote is missing this long */
  uint64_t work_timeout_us;    /* participant: abort when PREPARE is missing this long */
  uint64_t resend_us;          /* coordinator: repeat PREPARE and COMMIT */
  uint64_t inquire_timeout_us; /* prepared participant: ask, or decide, after this silence */
  bool non_blocking;
} dsm_two_phase_options;

typedef enum dsm_coordinator_state {
  DSM_COORDINATOR_IDLE,
  DSM_COORDINATOR_PREPARING,
  DSM_COORDINATOR_DECIDING, /* non-blocking mode: the word is being swapped */
  DSM_COORDINATOR_COMMITTING,
  DSM_COORDINATOR_DONE,
} dsm_coordinator_state;

typedef struct dsm_coordinator {
  dsm_two_phase_options options;
  uint64_t transaction;
  uint64_t participants, yes, read_only, refused, acknowledged;
  uint64_t deadline_us, resend_at_us;
  uint32_t node;
  dsm_coordinator_state state;
  dsm_two_phase_outcome outcome;
} dsm_coordinator;

/* `participants` is a set of node numbers and may contain the coordinator's own. */
dsm_status dsm_coordinator_init(dsm_coordinator *coordinator, uint64_t transaction, uint32_t node,
                                uint64_t participants, const dsm_two_phase_options *options);
dsm_status dsm_coordinator_begin(dsm_coordinator *coordinator, uint64_t now_us,
                                 dsm_two_phase_outputs *outputs);
/* The application gives up; refused with DSM_RETRY once the votes are complete. */
dsm_status dsm_coordinator_abort(dsm_coordinator *coordinator, dsm_two_phase_outputs *outputs);
dsm_status dsm_coordinator_receive(dsm_coordinator *coordinator,
                                   const dsm_two_phase_message *message, uint64_t now_us,
                                   dsm_two_phase_outputs *outputs);
void dsm_coordinator_tick(dsm_coordinator *coordinator, uint64_t now_us,
                          dsm_two_phase_outputs *outputs);
dsm_status dsm_coordinator_decided(dsm_coordinator *coordinator, dsm_two_phase_outcome held,
                                   uint64_t now_us, dsm_two_phase_outputs *outputs);
/* After a restart: feed the transaction's COMMIT and END records in log order to an initialised
 * coordinator, then tick it. A transaction without a COMMIT record needs no coordinator.
 * DSM_CORRUPT: a record that no coordinator writes. */
dsm_status dsm_coordinator_recover(dsm_coordinator *coordinator,
                                   const dsm_two_phase_record *record);
/* The answer of a node that has no record of the transaction: true when one is due. `held` is
 * DSM_OUTCOME_ABORTED (presumed abort); in the non-blocking mode, where the COMMIT record may be
 * lost after the decision, it is what the decision word holds. */
bool dsm_coordinator_presume(const dsm_two_phase_message *message, dsm_two_phase_outcome held,
                             dsm_two_phase_message *answer);

typedef enum dsm_participant_state {
  DSM_PARTICIPANT_WORKING,
  DSM_PARTICIPANT_ASKED, /* PREPARE arrived, the application has not voted yet */
  DSM_PARTICIPANT_PREPARED,
  DSM_PARTICIPANT_COMMITTED,
  DSM_PARTICIPANT_ABORTED,
  DSM_PARTICIPANT_READ_ONLY,
} dsm_participant_state;

typedef struct dsm_participant {
  dsm_two_phase_options options;
  uint64_t transaction;
  uint64_t deadline_us; /* WORKING, ASKED: give up; PREPARED: inquire or decide */
  uint32_t node, coordinator;
  dsm_participant_state state;
} dsm_participant;

dsm_status dsm_participant_init(dsm_participant *participant, uint64_t transaction, uint32_t node,
                                uint32_t coordinator, const dsm_two_phase_options *options,
                                uint64_t now_us);
/* DSM_CORRUPT: a COMMIT for what this side never prepared; the state does not change. */
dsm_status dsm_participant_receive(dsm_participant *participant,
                                   const dsm_two_phase_message *message, uint64_t now_us,
                                   dsm_two_phase_outputs *outputs);
dsm_status dsm_participant_vote(dsm_participant *participant, dsm_two_phase_vote vote,
                                uint64_t now_us, dsm_two_phase_outputs *outputs);
void dsm_participant_tick(dsm_participant *participant, uint64_t now_us,
                          dsm_two_phase_outputs *outputs);
dsm_status dsm_participant_decided(dsm_participant *participant, dsm_two_phase_outcome held,
                                   dsm_two_phase_outputs *outputs);
/* After a restart: feed the transaction's records in log order, then tick. A transaction without a
 * PREPARED record is aborted, because its work was lost with the process. */
dsm_status dsm_participant_recover(dsm_participant *participant,
                                   const dsm_two_phase_record *record);

void dsm_two_phase_outputs_clear(dsm_two_phase_outputs *outputs);

/* Shared by the two sides. */
void dsm__two_phase_send(dsm_two_phase_message *list, uint32_t *count, uint64_t transaction,
                         uint32_t kind, uint32_t from, uint32_t to, uint32_t vote);
void dsm__two_phase_log(dsm_two_phase_outputs *outputs, uint64_t transaction, uint32_t kind,
                        uint32_t coordinator, uint64_t participants, bool forced);

#endif
