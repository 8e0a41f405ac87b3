# Azure DevOps: the environment that every stage's deployment job names, sign-off at each, and a service connection
# without a secret.

locals {
  devops = var.azure_devops_project != null ? 1 : 0
}

data "azuredevops_project" "this" {
  count = local.devops
  name  = var.azure_devops_project
}

data "azuredevops_users" "approver" {
  for_each       = local.devops == 1 ? var.approvers : toset([])
  principal_name = each.value
}

resource "azuredevops_environment" "this" {
  count       = local.devops
  project_id  = data.azuredevops_project.this[0].id
  name        = var.environment
  description = "Canary rollouts of scoring images; every stage asks for sign-off."
}

resource "azuredevops_check_approval" "this" {
  count                      = local.devops
  project_id                 = data.azuredevops_project.this[0].id
  target_resource_id         = azuredevops_environment.this[0].id
  target_resource_type       = "environment"
  requester_can_approve      = false
  approvers                  = [for u in data.azuredevops_users.approver : one(u.users).id]
  minimum_required_approvers = length(var.approvers) > 1 ? 1 : null # of several: without it all of them would have to
  timeout                    = var.approval_timeout_minutes
  instructions               = "Look at the summary of the stage before: weights, requests, errors of each, agreement, verdict. Reject, and all traffic goes back to production."
}

# A pipeline that somebody changed on another branch does not get so far that an approver is asked.
resource "azuredevops_check_branch_control" "this" {
  count                = local.devops
  project_id           = data.azuredevops_project.this[0].id
  display_name         = "Only ${var.branch} ships"
  target_resource_id   = azuredevops_environment.this[0].id
  target_resource_type = "environment"
  allowed_branches     = "refs/heads/${var.branch}"
}

# Two runs never move the same endpoint at once.
resource "azuredevops_check_exclusive_lock" "this" {
  count                = local.devops
  project_id           = data.azuredevops_project.this[0].id
  target_resource_id   = azuredevops_environment.this[0].id
  target_resource_type = "environment"
}

resource "azuredevops_serviceendpoint_azurerm" "this" {
  count                                  = local.devops
  project_id                             = data.azuredevops_project.this[0].id
  service_endpoint_name                  = "${var.name}-azure" # as the ready pipeline calls it
  description                            = "Serin's pipeline, by workload identity: no secret to keep."
  service_endpoint_authentication_scheme = "WorkloadIdentityFederation"
  azurerm_spn_tenantid                   = data.azurerm_client_config.me.tenant_id
  azurerm_subscription_id                = data.azurerm_subscription.this.subscription_id
  azurerm_subscription_name              = data.azurerm_subscription.this.display_name
  credentials {
    serviceprincipalid = azurerm_user_assigned_identity.pipeline[0].client_id
  }
}

resource "azurerm_federated_identity_credential" "pipeline" {
  count                     = local.devops
  name                      = "azure-devops"
  user_assigned_identity_id = azurerm_user_assigned_identity.pipeline[0].id
  audience                  = ["api://AzureADTokenExchange"]
  issuer                    = azuredevops_serviceendpoint_azurerm.this[0].workload_identity_federation_issuer
  subject                   = azuredevops_serviceendpoint_azurerm.this[0].workload_identity_federation_subject
}
